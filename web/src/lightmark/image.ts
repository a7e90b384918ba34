/** The one warp that cuts crops of a picture, as lightmark/image.py does with OpenCV. */
import { compose, invert, matrixScale, transform, type Matrix } from "./geometry";

/** RGBA as canvases give it, row by row; the fourth byte is not looked at. An `ImageData` is one. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8ClampedArray | Uint8Array;
}

/** RGB, row by row. */
export interface Crop {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

/** Whole-pixel region, ends excluded. */
export type Region = readonly [x0: number, y0: number, x1: number, y1: number];

// cv2.warpAffine looks at positions in 32nds of a pixel,
const FRACTION_BITS = 5;
const FRACTIONS = 1 << FRACTION_BITS;
// and counts them in 1024ths on the way, which decides how they are rounded.
const FINE = 1024;
const STEP_BITS = 5; // from 1024ths to 32nds
const HALF_STEP = 1 << (STEP_BITS - 1);
const WHOLE_BITS = 2 * FRACTION_BITS; // of the four corners' weights
const HALF_WHOLE = 1 << (WHOLE_BITS - 1);

/**
 * The crop of `width`×`height` that `matrix` (image → crop) cuts out of `picture`, bilinear, zeros outside.
 *
 * A crop that shrinks the picture by 2 or more is first reduced by area, by the power of two that leaves less than 2:
 * bilinear sampling alone would skip pixels and alias.
 */
export function warp(picture: Picture, matrix: Matrix, width: number, height: number): Crop {
  const shrink = 1 / matrixScale(matrix);
  if (!(shrink >= 2)) return sample(picture, matrix, width, height);
  const factor = 1 << (31 - Math.clz32(shrink));
  const [reduced, reduction] = reduceByArea(picture, factor, regionOf(matrix, width, height));
  return sample(reduced, compose(matrix, invert(reduction)), width, height);
}

/** Whole-pixel region, ends excluded, that a crop of `width`×`height` looks at. */
export function regionOf(matrix: Matrix, width: number, height: number): Region {
  const back = invert(matrix);
  const corners = [
    [-0.5, -0.5],
    [width - 0.5, -0.5],
    [width - 0.5, height - 0.5],
    [-0.5, height - 0.5],
  ].map(([x, y]) => transform(back, [x, y]));
  const xs = corners.map((corner) => corner[0]);
  const ys = corners.map((corner) => corner[1]);
  return [
    Math.floor(Math.min(...xs)),
    Math.floor(Math.min(...ys)),
    Math.ceil(Math.max(...xs)) + 1,
    Math.ceil(Math.max(...ys)) + 1,
  ];
}

/**
 * Mean of each `factor`×`factor` block of the part of `picture` in `region`, and the matrix image → reduced.
 *
 * Blocks are counted from the picture's own corner. The last block of a side that `factor` does not divide repeats the
 * border pixel.
 */
export function reduceByArea(picture: Picture, factor: number, region: Region): [Picture, Matrix] {
  const onGrid = (value: number, limit: number): number =>
    Math.min(Math.max(Math.floor(value / factor) * factor, 0), limit);
  const [x0, y0] = [onGrid(region[0], picture.width), onGrid(region[1], picture.height)];
  const [x1, y1] = [onGrid(region[2] + factor, picture.width), onGrid(region[3] + factor, picture.height)];
  if (x1 <= x0 || y1 <= y0) {
    const empty = { width: 1, height: 1, data: new Uint8Array(4) };
    return [empty, [1 / factor, 0, -1e6, 0, 1 / factor, -1e6]];
  }
  const reduced = meanBlocks(picture, factor, [x0, y0, x1, y1]);
  const shift = (1 / factor - 1) / 2;
  return [reduced, [1 / factor, 0, shift - x0 / factor, 0, 1 / factor, shift - y0 / factor]];
}

function meanBlocks(picture: Picture, factor: number, [x0, y0, x1, y1]: Region): Picture {
  const [columns, rows] = [Math.ceil((x1 - x0) / factor), Math.ceil((y1 - y0) / factor)];
  const data = new Uint8Array(columns * rows * 4);
  const [from, sums] = [bytesOf(picture), new Int32Array(columns * 3)];
  const [half, bits] = [(factor * factor) >> 1, 2 * Math.log2(factor)];
  for (let row = 0, to = 0; row < rows; row++) {
    sums.fill(0);
    for (let line = row * factor; line < (row + 1) * factor; line++) {
      addLine(from, picture.width, Math.min(y0 + line, y1 - 1), x0, x1, factor, sums);
    }
    for (let sum = 0; sum < sums.length; sum += 3, to += 4) {
      data[to] = (sums[sum] + half) >> bits;
      data[to + 1] = (sums[sum + 1] + half) >> bits;
      data[to + 2] = (sums[sum + 2] + half) >> bits;
    }
  }
  return { width: columns, height: rows, data };
}

/** Add the pixels of one row to the sums of their blocks; the last block is filled up with the last pixel. */
function addLine(
  data: Uint8Array, width: number, y: number, x0: number, x1: number, factor: number, sums: Int32Array,
): void {
  const last = (y * width + x1 - 1) * 4;
  let at = (y * width + x0) * 4;
  for (let column = 0; column < sums.length; column += 3) {
    let red = 0;
    let green = 0;
    let blue = 0;
    for (let step = 0; step < factor; step++) {
      red += data[at];
      green += data[at + 1];
      blue += data[at + 2];
      if (at < last) at += 4;
    }
    sums[column] += red;
    sums[column + 1] += green;
    sums[column + 2] += blue;
  }
}

/** Bilinear, in the fixed-point positions of cv2.warpAffine; in whole numbers, twice as fast as in fractions. */
function sample(picture: Picture, matrix: Matrix, width: number, height: number): Crop {
  const [a, b, c, d, e, f] = invert(matrix);
  const data = new Uint8Array(width * height * 3);
  const steps = (by: number): Int32Array => Int32Array.from({ length: width }, (_, column) => Math.round(by * column * FINE));
  const [right, down] = [steps(a), steps(d)];
  const { width: columns, height: rows } = picture;
  const [from, below] = [bytesOf(picture), columns * 4];
  for (let row = 0, to = 0; row < height; row++) {
    const startX = inRange(Math.round((b * row + c) * FINE) + HALF_STEP);
    const startY = inRange(Math.round((e * row + f) * FINE) + HALF_STEP);
    for (let column = 0; column < width; column++, to += 3) {
      const x32 = (startX + right[column]) >> STEP_BITS;
      const y32 = (startY + down[column]) >> STEP_BITS;
      const left = x32 >> FRACTION_BITS;
      const top = y32 >> FRACTION_BITS;
      if (left < 0 || top < 0 || left >= columns - 1 || top >= rows - 1) {
        blend(picture, x32, y32, data, to);
        continue;
      }
      const u = x32 & (FRACTIONS - 1);
      const v = y32 & (FRACTIONS - 1);
      const southEast = u * v;
      const southWest = (v << FRACTION_BITS) - southEast;
      const northEast = (u << FRACTION_BITS) - southEast;
      const northWest = (1 << WHOLE_BITS) - southWest - northEast - southEast;
      const at = top * below + left * 4;
      const under = at + below;
      data[to] = (from[at] * northWest + from[at + 4] * northEast
        + from[under] * southWest + from[under + 4] * southEast + HALF_WHOLE) >> WHOLE_BITS;
      data[to + 1] = (from[at + 1] * northWest + from[at + 5] * northEast
        + from[under + 1] * southWest + from[under + 5] * southEast + HALF_WHOLE) >> WHOLE_BITS;
      data[to + 2] = (from[at + 2] * northWest + from[at + 6] * northEast
        + from[under + 2] * southWest + from[under + 6] * southEast + HALF_WHOLE) >> WHOLE_BITS;
    }
  }
  return { width, height, data };
}

/** The bytes of `picture`, always as one type of array: loops over two types take several times as long. */
function bytesOf({ data }: Picture): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.length);
}

/** `place`, at most a million pixels away: the sums of such are whole numbers of 32 bits, and outside of every picture. */
function inRange(place: number): number {
  return Math.max(-(2 ** 30), Math.min(2 ** 30, place));
}

/** The pixel at `x32` / 32, `y32` / 32 of `picture`, at its edge or beyond, into `into` from `to` on. */
function blend({ data, width, height }: Picture, x32: number, y32: number, into: Uint8Array, to: number): void {
  const left = x32 >> FRACTION_BITS;
  const top = y32 >> FRACTION_BITS;
  if (left < -1 || top < -1 || left >= width || top >= height) return;
  const u = x32 & (FRACTIONS - 1);
  const v = y32 & (FRACTIONS - 1);
  // Corners beyond the edges are black: they weigh nothing, and any pixel may stand for them.
  const west = left < 0 ? 0 : FRACTIONS - u;
  const east = left + 1 >= width ? 0 : u;
  const north = top < 0 ? 0 : FRACTIONS - v;
  const south = top + 1 >= height ? 0 : v;
  const upper = ((top < 0 ? 0 : top) * width + (left < 0 ? 0 : left)) * 4;
  const lower = upper + (top < 0 || top + 1 >= height ? 0 : width * 4);
  const right = left < 0 || left + 1 >= width ? 0 : 4;
  for (let channel = 0; channel < 3; channel++) {
    const above = data[upper + channel] * west + data[upper + right + channel] * east;
    const below = data[lower + channel] * west + data[lower + right + channel] * east;
    into[to + channel] = (above * north + below * south + HALF_WHOLE) >> WHOLE_BITS;
  }
}
