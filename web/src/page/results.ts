/** Results as files: JSON as `lightmark detect` writes it, `.pts` as 300W does; and as words. */
import type { Point } from "../lightmark/geometry";
import type { Face } from "../lightmark/landmarker";
import { CLOSED_EYE, opennessOf } from "../lightmark/measures";
import type { Pose } from "../lightmark/pose";
import type { Schema } from "../lightmark/schema";

export interface Detection {
  readonly file: string;
  readonly width: number;
  readonly height: number;
  readonly schema: Schema;
  readonly faces: readonly Face[];
}

/** One object a picture, with the keys of `lightmark detect --format json`, and of `--measures` the openness. */
export function toJson({ file, width, height, schema, faces }: Detection): string {
  const plain = faces.map((face) => ({
    schema: schema.name,
    box: face.box,
    points: face.points,
    ...(face.expected_error && { expected_error: face.expected_error }),
    ...(face.confidence !== null && { confidence: face.confidence }),
    ...(face.pose && { pose: face.pose, ...measuresOf(face.points, face.pose) }),
  }));
  return `${JSON.stringify([{ file, width, height, faces: plain }], null, 1)}\n`;
}

function measuresOf(points: Face["points"], pose: Pose): object {
  const { left, right, mouth } = opennessOf(points, pose);
  return {
    eye_openness: { left, right },
    eyes_closed: { left: left < CLOSED_EYE, right: right < CLOSED_EYE },
    mouth_openness: mouth,
  };
}

/** Text of a `.pts` file; it counts pixels from 1. */
export function toPts(points: readonly Point[]): string {
  const lines = points.map(([x, y]) => `${(x + 1).toFixed(6)} ${(y + 1).toFixed(6)}\n`).join("");
  return `version: 1\nn_points: ${points.length}\n{\n${lines}}\n`;
}

/** `name` without its ending. */
export function stemOf(name: string): string {
  return name.replace(/\.[^.]+$/, "") || name;
}

/** Faces of a picture that was reduced before it was looked at, in the pixels of the whole, `across` and `down` times
 * as large. */
export function enlarged<T extends Face>(faces: readonly T[], across: number, down: number): T[] {
  const move = ([x, y]: Point): Point => [(x + 0.5) * across - 0.5, (y + 0.5) * down - 0.5];
  return faces.map((face) => ({
    ...face,
    points: face.points.map(move),
    box: [...move([face.box[0], face.box[1]]), ...move([face.box[2], face.box[3]])] as const,
    expected_error: face.expected_error && face.expected_error.map((doubt) => doubt * across),
  }));
}

/** Whole degrees with their sign. */
export function degrees(angle: number): string {
  const whole = Math.round(angle);
  return `${whole > 0 ? "+" : whole < 0 ? "−" : ""}${Math.abs(whole)}°`;
}

/** Milliseconds to two digits, from a second on as seconds. */
export function duration(milliseconds: number): string {
  if (milliseconds >= 1000) return `${(milliseconds / 1000).toFixed(milliseconds < 10_000 ? 2 : 0)} s`;
  return `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`;
}

export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
