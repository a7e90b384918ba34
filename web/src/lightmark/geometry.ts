/**
 * Boxes, 2×3 matrices and overlaps: the one coordinate law, as in lightmark/geometry.py.
 *
 * Points are x then y, pixel centres at integers: pixel i covers [i − 0.5, i + 0.5]. A box is [x0, y0, x1, y1], the
 * smallest and largest coordinate of the points in it. A matrix moves image points to crop points.
 */
import { LightmarkError } from "./errors";

export type Point = readonly [x: number, y: number];
export type Box = readonly [x0: number, y0: number, x1: number, y1: number];
/** Rows of a 2×3 matrix, one after the other: x' = m[0]·x + m[1]·y + m[2], y' = m[3]·x + m[4]·y + m[5]. */
export type Matrix = readonly [number, number, number, number, number, number];

export const DEGREES = 180 / Math.PI; // a radian

/** Smallest box around points. */
export function tightBox(points: readonly Point[]): Box {
  let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [x, y] of points) {
    x0 = Math.min(x0, x);
    y0 = Math.min(y0, y);
    x1 = Math.max(x1, x);
    y1 = Math.max(y1, y);
  }
  return [x0, y0, x1, y1];
}

/**
 * Box of a rolled face: the size of its upright tight box, about that box's centre in the picture. A crop about it,
 * turned by −`roll` degrees, is that of the upright face.
 */
export function uprightBox(points: readonly Point[], roll: number): Box {
  if (roll === 0) return tightBox(points);
  const origin: Point = [0, 0];
  const upright = similarityMatrix(origin, origin, 1, -roll);
  const box = tightBox(points.map((point) => transform(upright, point)));
  return boxAt(transform(similarityMatrix(origin, origin, 1, roll), boxCentre(box)), box);
}

export function boxCentre([x0, y0, x1, y1]: Box): Point {
  return [(x0 + x1) / 2, (y0 + y1) / 2];
}

/** Box about the point with the sides of `box` times `zoom`. */
export function boxAt([x, y]: Point, [x0, y0, x1, y1]: Box, zoom = 1): Box {
  const [right, down] = [((x1 - x0) * zoom) / 2, ((y1 - y0) * zoom) / 2];
  return [x - right, y - down, x + right, y + down];
}

/** `angle` in degrees as the same direction in [−180, 180). */
export function wrapDegrees(angle: number): number {
  const turned = (angle + 180) % 360;
  return turned < 0 ? turned + 180 : turned - 180;
}

/** `box` itself; throws where it is empty, reversed or not finite. */
export function requireBox(box: Box): Box {
  if (box.length !== 4 || !box.every(Number.isFinite)) {
    throw new LightmarkError(`box [${box.join(", ")}]: needs four finite numbers x0, y0, x1, y1`);
  }
  if (box[2] <= box[0] || box[3] <= box[1]) {
    throw new LightmarkError(`box [${box.join(", ")}]: x1 must exceed x0 and y1 exceed y0`);
  }
  return box;
}

/** Weights of the points' moves, for x and y of the box's centre and the logarithm of its side. */
export type BoxMap = readonly (readonly Point[])[];
const MOST_MOVE = 0.5; // of a box by its map, in sides (lightmark/spec.py)

/**
 * Square box whose `template` (places in shares of its side from its centre), by least squares, lies on `points`, moved
 * by `boxMap` as the points lie beside the template (lightmark/spec.py, box_around). Points in one place do not say how
 * large the face is: it is as large as `near`.
 */
export function boxAround(
  template: readonly Point[], points: readonly Point[], near: Box, boxMap: BoxMap | null = null,
): Box {
  const [from, to] = [meanOf(template), meanOf(points)];
  let [cos, sin] = turnOf(template, points);
  const known = Math.hypot(cos, sin) > 0;
  if (!known) [cos, sin] = [Math.max(near[2] - near[0], near[3] - near[1]), 0];
  const matrix: Matrix = [
    cos, -sin, to[0] - (cos * from[0] - sin * from[1]), sin, cos, to[1] - (sin * from[0] + cos * from[1]),
  ];
  const [right, down, growth] = known && boxMap ? shifts(boxMap, template, points, invert(matrix)) : [0, 0, 0];
  const [x, y] = transform(matrix, [right, down]);
  const half = (Math.hypot(cos, sin) * Math.exp(growth)) / 2;
  return [x - half, y - half, x + half, y + half];
}

/** Cosine and sine, times the zoom, of the least-squares similarity from `template` to `points`; zeros in one place. */
export function turnOf(template: readonly Point[], points: readonly Point[]): Point {
  const [from, to] = [meanOf(template), meanOf(points)];
  let [real, imaginary, energy] = [0, 0, 0];
  template.forEach(([x, y], index) => {
    const [ax, ay] = [x - from[0], y - from[1]];
    const [bx, by] = [points[index][0] - to[0], points[index][1] - to[1]];
    real += ax * bx + ay * by;
    imaginary += ax * by - ay * bx;
    energy += ax * ax + ay * ay;
  });
  return energy > 0 ? [real / energy, imaginary / energy] : [0, 0];
}

/** What `boxMap` makes of the points' moves from the template, in whose frame `back` lays them. */
function shifts(boxMap: BoxMap, template: readonly Point[], points: readonly Point[], back: Matrix): number[] {
  const moves = points.map((point, index): Point => {
    const [x, y] = transform(back, point);
    return [x - template[index][0], y - template[index][1]];
  });
  return boxMap.map((weights) => {
    const sum = weights.reduce((total, [x, y], index) => total + x * moves[index][0] + y * moves[index][1], 0);
    return Math.min(Math.max(sum, -MOST_MOVE), MOST_MOVE);
  });
}

function meanOf(points: readonly Point[]): Point {
  const sum = points.reduce<[number, number]>(([a, b], [x, y]) => [a + x, b + y], [0, 0]);
  return [sum[0] / points.length, sum[1] / points.length];
}

/** Intersection over union of two boxes. */
export function overlap(first: Box, second: Box): number {
  const width = Math.min(first[2], second[2]) - Math.max(first[0], second[0]);
  const height = Math.min(first[3], second[3]) - Math.max(first[1], second[1]);
  const shared = Math.max(width, 0) * Math.max(height, 0);
  return shared / (area(first) + area(second) - shared);
}

export function area(box: Box): number {
  return (box[2] - box[0]) * (box[3] - box[1]);
}

/** Boxes by their area; equally large ones from left to right, then from top to bottom. */
export function largestFirst<T extends { readonly box: Box }>(finds: readonly T[]): T[] {
  return [...finds].sort(({ box: a }, { box: b }) => area(b) - area(a) || a[0] - b[0] || a[1] - b[1]);
}

/**
 * Matrix from image pixels to the `size`×`size` crop around `box`: a square about its centre, its side `scale` times the
 * box's longer side, turned by `angle` degrees (positive turns the picture's content counter-clockwise as displayed).
 * The square's edges fall on the outer edges of the crop's border pixels.
 */
export function cropMatrix(box: Box, size: number, scale: number, angle = 0): Matrix {
  const [x0, y0, x1, y1] = requireBox(box);
  const zoom = size / (scale * Math.max(x1 - x0, y1 - y0));
  const middle = (size - 1) / 2;
  return similarityMatrix([(x0 + x1) / 2, (y0 + y1) / 2], [middle, middle], zoom, angle);
}

/** Matrix that brings `centre` to `place`, enlarged by `zoom`, the content turned counter-clockwise by `angle` degrees. */
export function similarityMatrix(centre: Point, place: Point, zoom: number, angle: number): Matrix {
  const [cos, sin] = [zoom * Math.cos(angle / DEGREES), zoom * Math.sin(angle / DEGREES)];
  const [x, y] = centre;
  return [cos, sin, place[0] - cos * x - sin * y, 0 - sin, cos, place[1] + sin * x - cos * y];
}

/** Matrix that applies `inner` first, then `outer`. */
export function compose(outer: Matrix, inner: Matrix): Matrix {
  const [a, b, c, d, e, f] = outer;
  const [p, q, r, s, t, u] = inner;
  return [a * p + b * s, a * q + b * t, a * r + b * u + c, d * p + e * s, d * q + e * t, d * r + e * u + f];
}

/** Throws for a matrix that is singular. */
export function invert(matrix: Matrix): Matrix {
  const [a, b, c, d, e, f] = matrix;
  const determinant = a * e - b * d;
  if (!(Math.abs(determinant) > 0 && Number.isFinite(determinant))) {
    throw new LightmarkError(`matrix [${matrix.join(", ")}] has no inverse: it flattens the plane`);
  }
  const [p, q, s, t] = [e / determinant, -b / determinant, -d / determinant, a / determinant];
  return [p, q, -(p * c + q * f), s, t, -(s * c + t * f)];
}

export function transform(matrix: Matrix, [x, y]: Point): Point {
  return [matrix[0] * x + matrix[1] * y + matrix[2], matrix[3] * x + matrix[4] * y + matrix[5]];
}

/** `box` moved by a matrix that neither turns nor mirrors. */
export function transformBox(matrix: Matrix, [x0, y0, x1, y1]: Box): Box {
  return [...transform(matrix, [x0, y0]), ...transform(matrix, [x1, y1])];
}

/** Factor by which lengths grow under a similarity matrix. */
export function matrixScale([a, b, , d, e]: Matrix): number {
  return Math.sqrt(Math.abs(a * e - b * d));
}
