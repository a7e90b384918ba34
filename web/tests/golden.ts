/** The numbers that web/golden.py took from the Python code. */
import golden from "./golden.json";
import type { Matrix } from "../src/lightmark/geometry";
import type { Crop, Picture } from "../src/lightmark/image";

export { golden };

interface Encoded {
  readonly width: number;
  readonly height: number;
  readonly rgb: string;
}

export function cropOf({ width, height, rgb }: Encoded): Crop {
  return { width, height, data: new Uint8Array(Buffer.from(rgb, "base64")) };
}

export function pictureOf(encoded: Encoded): Picture {
  const { width, height, data } = cropOf(encoded);
  const rgba = new Uint8Array(width * height * 4).fill(255);
  for (let pixel = 0; pixel < width * height; pixel++) rgba.set(data.subarray(pixel * 3, pixel * 3 + 3), pixel * 4);
  return { width, height, data: rgba };
}

export const matrixOf = (rows: readonly number[]): Matrix => rows as unknown as Matrix;

/** The largest difference of two lists of numbers, nested or not. */
export function furthest(got: unknown, wanted: unknown): number {
  const [first, second] = [got, wanted].map((list) => (list as number[]).flat(Infinity) as number[]);
  if (first.length !== second.length) return Infinity;
  return first.reduce((most, value, index) => Math.max(most, Math.abs(value - second[index])), 0);
}
