/** Signals: openness of eyes and mouth over the last seconds before a camera. */
import type { Face } from "../lightmark/landmarker";
import { opennessOf, type Openness } from "../lightmark/measures";

export interface Sample {
  readonly seconds: number;
  readonly openness: Openness | null; // null where the points do not show it
}

export const SPAN = 20; // seconds that are shown
const [WIDTH, HEIGHT] = [300, 80]; // of the view box
const LINES = ["left", "right", "mouth"] as const;

/** Places of one signal in the view box, the newest at its right edge, as SVG's `points`. */
export function pointsOf(samples: readonly Sample[], line: keyof Openness): string {
  const end = samples.at(-1)?.seconds ?? 0;
  const places = samples.flatMap(({ seconds, openness }) =>
    openness ? [`${(WIDTH * (1 - (end - seconds) / SPAN)).toFixed(1)},${(HEIGHT * (1 - openness[line])).toFixed(1)}`] : [],
  );
  return places.join(" ");
}

/** The curves of one face, in an <svg> with a polyline for each of left eye, right eye and mouth. */
export class Signals {
  private samples: Sample[] = [];
  private id: number | null = null;

  constructor(private readonly svg: Element) {
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  }

  /** Add the face in view; another face begins anew. */
  add(seconds: number, face: (Face & { readonly id: number }) | undefined): void {
    if (face && face.id !== this.id) this.clear();
    if (face) this.id = face.id;
    this.samples.push({ seconds, openness: face?.pose ? opennessOf(face.points, face.pose) : null });
    this.samples = this.samples.filter((sample) => seconds - sample.seconds <= SPAN);
    this.draw();
  }

  clear(): void {
    this.samples = [];
    this.id = null;
    this.draw();
  }

  private draw(): void {
    LINES.forEach((line, index) => this.svg.children[index].setAttribute("points", pointsOf(this.samples, line)));
  }
}
