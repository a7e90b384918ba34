/** One-Euro smoothing of a face's points: steady at rest, quick when they move (lightmark/video/smoothing.py). */
import { tightBox, type Point } from "./geometry";

const MIN_CUTOFF = 1.0; // Hz, for a point at rest
const BETA = 25.0; // Hz per face size and second
const D_CUTOFF = 2.0; // Hz, of the filter over the speed
const TYPICAL_DOUBT = 0.02; // face sizes
const DOUBT_RANGE = [0.5, 2.0] as const; // of the cutoff

/** The One-Euro filter (Casiez, Roussel, Vogel, CHI 2012) over the points of one face; speeds count in face sizes. */
export class OneEuro {
  private seconds = -Infinity;
  private points: readonly Point[] | null = null;
  private velocity: readonly Point[] = [];

  /** Smoothed points at `seconds`, which must be later than the last call's. */
  smooth(points: readonly Point[], seconds: number, expected_error: readonly number[] | null): readonly Point[] {
    const elapsed = seconds - this.seconds;
    this.seconds = seconds;
    if (this.points === null || !(elapsed > 0)) {
      this.points = points;
      this.velocity = points.map((): Point => [0, 0]);
      return points;
    }
    const [x0, y0, x1, y1] = tightBox(points);
    const size = Math.max(x1 - x0, y1 - y0);
    const before = this.points;
    const share = weight(D_CUTOFF, elapsed);
    this.velocity = this.velocity.map(([u, v], i): Point => [
      u + share * ((points[i][0] - before[i][0]) / (elapsed * size) - u),
      v + share * ((points[i][1] - before[i][1]) / (elapsed * size) - v),
    ]);
    this.points = before.map(([x, y], i): Point => {
      const speed = Math.hypot(...this.velocity[i]);
      const cutoff = (MIN_CUTOFF + BETA * speed) * (expected_error ? trust(expected_error[i] / size) : 1);
      const taken = weight(cutoff, elapsed);
      return [x + taken * (points[i][0] - x), y + taken * (points[i][1] - y)];
    });
    return this.points;
  }
}

/** Share of the new value in a low-pass filter of `cutoff` Hz whose last value is `elapsed` seconds old. */
function weight(cutoff: number, elapsed: number): number {
  return 1 / (1 + 1 / (2 * Math.PI * cutoff * elapsed));
}

/** Factor on the cutoff of a point of this expected error, in face sizes. */
function trust(doubt: number): number {
  return Math.min(Math.max(TYPICAL_DOUBT / doubt, DOUBT_RANGE[0]), DOUBT_RANGE[1]);
}
