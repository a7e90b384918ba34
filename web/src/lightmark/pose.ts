/** How a head is turned, from its landmarks alone (lightmark/pose.py, which derives the constants). */
import type { Point } from "./geometry";
import { HEAD, RIGID_START, type Solid } from "./head";
import { ibug68FromWflw98, type Schema } from "./schema";

/** Degrees as the viewer sees it: yaw > 0 turns the nose to the right of the picture, pitch > 0 lifts it, roll > 0
 * tilts the head counter-clockwise. */
export interface Pose {
  readonly yaw: number;
  readonly pitch: number;
  readonly roll: number;
}

/** Rows of a 3×3 matrix. */
export type Rotation = readonly [Solid, Solid, Solid];

const SPREAD = 0.024;
const WIDTH_SPREAD = 0.06;
const STEPS = 30;
const SMALL_STEP = 1e-6;
const LONGEST_TURN = 0.5;
const DEGREES = 180 / Math.PI;

/** Pose of the head with landmarks `points`; null where schema or points cannot tell. */
export function headPose(points: readonly Point[], schema: Schema): Pose | null {
  const all = schema.name === "wflw98" && points.length === 98 ? ibug68FromWflw98(points) : points;
  if (!["ibug68", "wflw98"].includes(schema.name) || all.length !== 68) return null;
  const rotation = fitRotation(all.slice(RIGID_START, RIGID_START + HEAD.length), HEAD);
  return rotation && rotationAngles(rotation);
}

/** Yaw, pitch and roll of a rotation Rz(roll) · Ry(yaw) · Rx(pitch), in degrees. */
export function rotationAngles(rotation: Rotation): Pose {
  const yaw = Math.asin(Math.min(1, Math.max(-1, -rotation[2][0])));
  const edge = Math.abs(rotation[2][0]) > 1 - 1e-12;
  const pitch = edge ? Math.atan2(-rotation[1][2], rotation[1][1]) : Math.atan2(rotation[2][1], rotation[2][2]);
  const roll = edge ? 0 : Math.atan2(-rotation[1][0], rotation[0][0]);
  return { yaw: yaw * DEGREES, pitch: pitch * DEGREES, roll: roll * DEGREES };
}

/** Rz(roll) · Ry(yaw) · Rx(pitch), the inverse of `rotationAngles`. */
export function rotationOf({ yaw, pitch, roll }: Pose): Rotation {
  const [cy, sy] = [Math.cos(yaw / DEGREES), Math.sin(yaw / DEGREES)];
  const [cp, sp] = [Math.cos(pitch / DEGREES), Math.sin(pitch / DEGREES)];
  const [cr, sr] = [Math.cos(roll / DEGREES), Math.sin(roll / DEGREES)];
  const turn: Rotation = [[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]];
  const nod: Rotation = [[1, 0, 0], [0, cp, -sp], [0, sp, cp]];
  const tilt: Rotation = [[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]];
  return multiply(tilt, multiply(turn, nod));
}

/** Rotation that lays `solid` over `points` with the least error, by Gauss-Newton; null for points on one line. */
function fitRotation(points: readonly Point[], solid: readonly Solid[]): Rotation | null {
  if (!points.every((point) => point.every(Number.isFinite))) return null;
  const flat = centred(points);
  const head = centred(solid);
  const start = affineStart(flat, head);
  if (!start) return null;
  let [rotation, scale] = start;
  let width = 0;
  for (let round = 0; round < STEPS; round++) {
    const step = newtonStep(flat, head, rotation, scale, width);
    if (!step) return null;
    const turn = Math.hypot(step[0], step[1], step[2]);
    const share = Math.min(1, LONGEST_TURN / Math.max(turn, LONGEST_TURN));
    const taken = step.map((value) => value * share);
    rotation = multiply(turnAbout([taken[0], taken[1], taken[2]]), rotation);
    scale *= Math.exp(Math.min(1, Math.max(-1, taken[3])));
    width += taken[4];
    if (taken.every((value) => Math.abs(value) < SMALL_STEP)) break;
  }
  return rotation;
}

/** The least-squares step: three turns about the axes, the logarithms of scale and of the head's width. */
function newtonStep(
  points: readonly (readonly number[])[],
  solid: readonly (readonly number[])[],
  rotation: Rotation,
  scale: number,
  width: number,
): number[] | null {
  const normal = Array.from({ length: 5 }, () => new Array<number>(5).fill(0));
  const right = new Array<number>(5).fill(0);
  const add = (row: readonly number[], left: number): void => {
    for (let i = 0; i < 5; i++) {
      right[i] += row[i] * left;
      for (let j = 0; j < 5; j++) normal[i][j] += row[i] * row[j];
    }
  };
  const unit = scale * SPREAD;
  solid.forEach((point, index) => {
    const widened = [scale * point[0] * Math.exp(width), scale * point[1], scale * point[2]] as const;
    const [x, y, z] = rotation.map((row) => dot(row, widened));
    const across = [0, z, -y, x, widened[0] * rotation[0][0]];
    const down = [-z, 0, x, y, widened[0] * rotation[1][0]];
    add(across.map((value) => value / unit), (points[index][0] - x) / unit);
    add(down.map((value) => value / unit), (points[index][1] - y) / unit);
  });
  add([0, 0, 0, 0, 1 / WIDTH_SPREAD], -width / WIDTH_SPREAD);
  return solve(normal, right);
}

/** Rotation and scale nearest to the affine map that fits best. */
function affineStart(
  points: readonly (readonly number[])[],
  solid: readonly (readonly number[])[],
): [Rotation, number] | null {
  const normal = [0, 1, 2].map((i) => [0, 1, 2].map((j) => sum(solid, (row) => row[i] * row[j])));
  const rows: number[][] = [];
  for (const axis of [0, 1]) {
    const row = solve(normal, [0, 1, 2].map((i) => sum(solid, (point, index) => point[i] * points[index][axis])));
    if (!row) return null;
    rows.push(row);
  }
  // The polar factor of the two rows A is (A Aᵀ)^(−1/2) A; a 2×2 root has a closed form.
  const [a, b, d] = [dot(rows[0], rows[0]), dot(rows[0], rows[1]), dot(rows[1], rows[1])];
  const determinant = Math.sqrt(Math.max(a * d - b * b, 0));
  const trace = Math.sqrt(a + d + 2 * determinant); // the sum of both singular values, their product the determinant
  const apart = Math.sqrt(Math.max(trace * trace - 4 * determinant, 0));
  if (!((trace - apart) / 2 > 1e-9 * ((trace + apart) / 2))) return null;
  const root = [[(a + determinant) / trace, b / trace], [b / trace, (d + determinant) / trace]];
  const first = rows[0].map((_, i) => (root[1][1] * rows[0][i] - root[0][1] * rows[1][i]) / determinant);
  const second = rows[0].map((_, i) => (root[0][0] * rows[1][i] - root[1][0] * rows[0][i]) / determinant);
  const upper = [first, second] as unknown as [Solid, Solid];
  return [[...upper, cross(...upper)], trace / 2];
}

/** Solution of a small square system by elimination with pivots; null where it has none. */
function solve(matrix: readonly (readonly number[])[], right: readonly number[]): number[] | null {
  const rows = matrix.map((row, index) => [...row, right[index]]);
  const size = rows.length;
  for (let column = 0; column < size; column++) {
    let pivot = column;
    for (let row = column; row < size; row++) {
      if (Math.abs(rows[row][column]) > Math.abs(rows[pivot][column])) pivot = row;
    }
    if (!(Math.abs(rows[pivot][column]) > 1e-300)) return null;
    [rows[column], rows[pivot]] = [rows[pivot], rows[column]];
    for (let row = 0; row < size; row++) {
      if (row === column) continue;
      const factor = rows[row][column] / rows[column][column];
      for (let at = column; at <= size; at++) rows[row][at] -= factor * rows[column][at];
    }
  }
  return rows.map((row, index) => row[size] / row[index]);
}

/** Rotation about `axis` by its length in radians (Rodrigues). */
function turnAbout(axis: Solid): Rotation {
  const angle = Math.hypot(...axis);
  const [x, y, z] = axis;
  const near = angle < 1e-9;
  const first = near ? 1 : Math.sin(angle) / angle;
  const second = near ? 0.5 : (1 - Math.cos(angle)) / (angle * angle);
  return [
    [1 - second * (y * y + z * z), second * x * y - first * z, second * x * z + first * y],
    [second * x * y + first * z, 1 - second * (x * x + z * z), second * y * z - first * x],
    [second * x * z - first * y, second * y * z + first * x, 1 - second * (x * x + y * y)],
  ];
}

function centred(rows: readonly (readonly number[])[]): number[][] {
  const means = rows[0].map((_, axis) => sum(rows, (row) => row[axis]) / rows.length);
  return rows.map((row) => row.map((value, axis) => value - means[axis]));
}

function multiply(first: Rotation, second: Rotation): Rotation {
  const column = (index: number): number[] => second.map((row) => row[index]);
  return first.map((row) => [0, 1, 2].map((index) => dot(row, column(index)))) as unknown as Rotation;
}

function dot(first: readonly number[], second: readonly number[]): number {
  return first.reduce((total, value, index) => total + value * second[index], 0);
}

function cross([a, b, c]: Solid, [d, e, f]: Solid): Solid {
  return [b * f - c * e, c * d - a * f, a * e - b * d];
}

function sum<T>(rows: readonly T[], value: (row: T, index: number) => number): number {
  return rows.reduce((total, row, index) => total + value(row, index), 0);
}
