/** Openness of eyes and mouth, from landmarks and head pose (lightmark/measures.py, which derives the constants). */
import type { Point } from "./geometry";
import { HEAD, RIGID_START } from "./head";
import { rotationOf, type Pose, type Rotation } from "./pose";
import { ibug68FromWflw98 } from "./schema";

/** From 0, closed, to 1, wide open; left and right are the person's own. */
export interface Openness {
  readonly left: number;
  readonly right: number;
  readonly mouth: number;
}

type Lids = readonly [upper: readonly number[], lower: readonly number[]];

const LEFT_LIDS: Lids = [[43, 44], [46, 47]];
const RIGHT_LIDS: Lids = [[37, 38], [40, 41]];
const LIPS: Lids = [[61, 62, 63], [65, 66, 67]];
const LIDS_SLOPE = 0.13;
const JAW_SLOPE = 0.26;
const WIDE_EYE = 0.14;
const WIDE_MOUTH = 0.45;
const LEAST_VIEW = 0.1;
export const CLOSED_EYE = 0.4;

/** Openness of a face with 68 points, or WFLW's 98, and this pose. */
export function opennessOf(points: readonly Point[], pose: Pose): Openness {
  const all = points.length === 98 ? ibug68FromWflw98(points) : points;
  const rotation = rotationOf(pose);
  const scale = headScale(all, rotation);
  const of = ([upper, lower]: Lids, slope: number, wide: number): number => {
    const down = [rotation[0][1] - slope * rotation[0][2], rotation[1][1] - slope * rotation[1][2]];
    const [from, to] = [mean(upper.map((index) => all[index])), mean(lower.map((index) => all[index]))];
    const along = (to[0] - from[0]) * down[0] + (to[1] - from[1]) * down[1];
    const opening = along / Math.max(down[0] ** 2 + down[1] ** 2, LEAST_VIEW) / scale;
    return Math.min(1, Math.max(0, opening / wide));
  };
  return {
    left: of(LEFT_LIDS, LIDS_SLOPE, WIDE_EYE),
    right: of(RIGHT_LIDS, LIDS_SLOPE, WIDE_EYE),
    mouth: of(LIPS, JAW_SLOPE, WIDE_MOUTH),
  };
}

/** Pixels of the distance between the outer eye corners, seen from the front: what fits the mean head best. */
function headScale(points: readonly Point[], rotation: Rotation): number {
  const turned = HEAD.map((solid) =>
    [0, 1].map((row) => solid.reduce((sum, value, axis) => sum + value * rotation[row][axis], 0)),
  ) as unknown as Point[];
  const [x, y] = mean(turned);
  let [across, along] = [0, 0];
  turned.forEach(([u, v], index) => {
    const [du, dv] = [u - x, v - y];
    across += du * points[RIGID_START + index][0] + dv * points[RIGID_START + index][1];
    along += du * du + dv * dv;
  });
  return across / along;
}

function mean(points: readonly Point[]): Point {
  const sum = points.reduce(([a, b], [x, y]): Point => [a + x, b + y], [0, 0] as Point);
  return [sum[0] / points.length, sum[1] / points.length];
}
