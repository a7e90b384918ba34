/** Roll of a face from its points (face_roll in lightmark/spec.py, held_roll in lightmark/video/tracker.py). */
import { DEGREES, turnOf, wrapDegrees, type Point } from "./geometry";
import { ibug68FromWflw98, type Schema } from "./schema";
import type { ModelSpec } from "./spec";

/** Degrees of roll up to which a crop need not be turned. */
export const STEEP_ROLL = 25;

/**
 * Roll in degrees, counter-clockwise: for 68 and WFLW's 98 points the mean direction of the line between the eyes and of
 * the one from mouth to eyes, for others that of the model's template on them; 0 where there is none.
 */
export function faceRoll({ schema, template }: Pick<ModelSpec, "schema" | "template">, points: readonly Point[]): number {
  if (spansFace(schema)) return rollOf(schema.size === 98 ? ibug68FromWflw98(points) : points);
  const [x, y] = template ? turnOf(template, points) : [1, 0];
  return Math.atan2(0 - y, x) * DEGREES;
}

/** Roll to take out of the next crop of a face: `held` as long as the face lies within `STEEP_ROLL` of it. */
export function heldRoll(held: number, roll: number): number {
  if (!(Math.abs(wrapDegrees(roll - held)) > STEEP_ROLL)) return held;
  return Math.abs(roll) > STEEP_ROLL ? roll : 0;
}

function spansFace({ name, size }: Schema): boolean {
  return (size === 68 && ["ibug68", "points68"].includes(name)) || (size === 98 && ["wflw98", "points98"].includes(name));
}

function rollOf(points: readonly Point[]): number {
  return rollOfFeatures(middle(points.slice(36, 42)), middle(points.slice(42, 48)), points[48], points[54]);
}

/** Roll of a face from its eyes' centres and its mouth's corners (roll_of_features in lightmark/geometry.py). */
export function rollOfFeatures(right: Point, left: Point, rightMouth: Point, leftMouth: Point): number {
  const mouth = middle([rightMouth, leftMouth]);
  const [across, down] = [
    [left[0] - right[0], left[1] - right[1]],
    [mouth[0] - (right[0] + left[0]) / 2, mouth[1] - (right[1] + left[1]) / 2],
  ];
  return Math.atan2(0 - (across[1] - down[0]), across[0] + down[1]) * DEGREES;
}

function middle(points: readonly Point[]): Point {
  const sum = points.reduce<[number, number]>(([a, b], [x, y]) => [a + x, b + y], [0, 0]);
  return [sum[0] / points.length, sum[1] / points.length];
}
