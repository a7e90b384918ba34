/** Schemas: how many points there are, what groups they form and which of them lines join. */
import { LightmarkError } from "./errors";
import type { Point } from "./geometry";

export interface Schema {
  readonly name: string;
  readonly size: number;
  /** The index that each point takes in a mirrored picture. */
  readonly mirror: readonly number[];
  readonly edges: readonly (readonly [number, number])[];
  readonly groups: Readonly<Record<string, readonly number[]>>;
}

/** The schema in a model's metadata; throws for a missing key or an index without point. */
export function schemaFromJson(data: unknown): Schema {
  const { name, mirror, edges = [], groups = {} } = data as Schema;
  if (typeof name !== "string" || !Array.isArray(mirror) || mirror.length === 0) {
    throw new LightmarkError("its schema lacks a name or `mirror`");
  }
  const known = (index: number): boolean => Number.isInteger(index) && index >= 0 && index < mirror.length;
  if (!mirror.every(known) || !edges.every((edge) => edge.length === 2 && edge.every(known))) {
    throw new LightmarkError(`its schema ${name} names points that its ${mirror.length} points do not hold`);
  }
  return { name, size: mirror.length, mirror, edges, groups };
}

/** The 68 points that WFLW's 98 imply; inner eyelids lie at ⅓ and ⅔ along the eyelid. */
export function ibug68FromWflw98(points: readonly Point[]): Point[] {
  const found: Point[] = new Array(68);
  for (let index = 0; index < 17; index++) found[index] = points[2 * index];
  for (let index = 0; index < 5; index++) found[17 + index] = points[33 + index];
  for (let index = 0; index < 5; index++) found[22 + index] = points[42 + index];
  for (let index = 0; index < 9; index++) found[27 + index] = points[51 + index];
  for (const [first68, first98] of [
    [36, 60],
    [42, 68],
  ]) {
    const between = (near: number, far: number): Point => {
      const [a, b] = [points[first98 + near], points[first98 + far]];
      return [(2 * a[0] + b[0]) / 3, (2 * a[1] + b[1]) / 3];
    };
    found[first68] = points[first98];
    found[first68 + 1] = between(1, 2);
    found[first68 + 2] = between(3, 2);
    found[first68 + 3] = points[first98 + 4];
    found[first68 + 4] = between(5, 6);
    found[first68 + 5] = between(7, 6);
  }
  for (let index = 0; index < 20; index++) found[48 + index] = points[76 + index];
  return found;
}
