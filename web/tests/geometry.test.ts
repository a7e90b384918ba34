import { describe, expect, it } from "vitest";
import {
  boxAround, compose, cropMatrix, invert, largestFirst, overlap, requireBox, tightBox, transform, uprightBox, wrapDegrees, type Box, type Point,
} from "../src/lightmark/geometry";
import { furthest, golden, matrixOf } from "./golden";

const boxOf = (numbers: readonly number[]): Box => numbers as unknown as Box;
const pointsOf = (rows: readonly (readonly number[])[]): Point[] => rows as unknown as Point[];

describe("crops", () => {
  it.each(golden.matrices)("are cut where Python cuts them: $box", ({ box, size, scale, matrix, inverse }) => {
    expect(furthest(cropMatrix(boxOf(box), size, scale), matrix)).toBeLessThan(1e-9);
    expect(furthest(invert(matrixOf(matrix)), inverse)).toBeLessThan(1e-9);
  });

  it.each(golden.matrices)("of rolled faces are Python's: $roll°", ({ box, size, scale, roll, rolled, points, upright }) => {
    expect(furthest(cropMatrix(boxOf(box), size, scale, -roll), rolled)).toBeLessThan(1e-9);
    expect(furthest(uprightBox(pointsOf(points), roll), upright)).toBeLessThan(1e-9);
    expect(uprightBox(pointsOf(points), 0)).toEqual(tightBox(pointsOf(points)));
  });
});

describe("boxes of a model's own points", () => {
  const near = boxOf([0, 0, 40, 30]);

  it.each(golden.matrices)("are Python's, with a box map and without: $box", ({ template, points, around, box_map, mapped }) => {
    const map = box_map.map(pointsOf);
    expect(furthest(boxAround(pointsOf(template), pointsOf(points), near), around)).toBeLessThan(1e-9);
    expect(furthest(boxAround(pointsOf(template), pointsOf(points), near, map), mapped)).toBeLessThan(1e-9);
    expect(furthest(around, mapped)).toBeGreaterThan(0.01);
  });

  it("are moved by half a side at most", () => {
    const places = pointsOf([[-0.25, 0], [0.25, 0], [0, 0.25]]);
    const strong = [0, 1, 2].map(() => pointsOf([[100, 0], [-100, 0], [0, 100]]));
    const wide = pointsOf([[-40, 0], [40, 0], [0, 10]]);
    const [[x0, , x1], [p0, , p1]] = [boxAround(places, wide, near), boxAround(places, wide, near, strong)];
    expect(Math.abs(p0 + p1 - x0 - x1) / 2).toBeCloseTo((x1 - x0) / 2);
    expect(Math.abs(Math.log((p1 - p0) / (x1 - x0)))).toBeCloseTo(0.5);
  });

  it("are as large as the box before where the points lie in one place", () => {
    expect(boxAround([[0.25, 0]], [[50, 60]], near, [[[9, 9]], [[9, 9]], [[9, 9]]])).toEqual([20, 40, 60, 80]);
  });
});

describe("matrices", () => {
  it("undo themselves", () => {
    const matrix = matrixOf([2, 0.5, -3, -0.5, 2, 7]);
    expect(furthest(compose(invert(matrix), matrix), [1, 0, 0, 0, 1, 0])).toBeLessThan(1e-12);
    expect(transform(invert(matrix), transform(matrix, [4, 9]))).toEqual([expect.closeTo(4), expect.closeTo(9)]);
  });

  it("that flatten the plane have no inverse", () => {
    expect(() => invert(matrixOf([1, 2, 0, 2, 4, 0]))).toThrow("flattens the plane");
  });
});

describe("angles", () => {
  it("wrap around the circle", () => {
    expect([190, -190, 180, -180, 540, 20, -720].map(wrapDegrees)).toEqual([-170, 170, -180, -180, -180, 20, 0]);
  });
});

describe("boxes", () => {
  it("are the extremes of their points", () => {
    expect(tightBox([[3, -1], [0, 5], [2, 2]])).toEqual([0, -1, 3, 5]);
  });

  it("share a third where two of the same size overlap by half", () => {
    expect(overlap([0, 0, 2, 2], [1, 0, 3, 2])).toBeCloseTo(1 / 3);
    expect(overlap([0, 0, 2, 2], [5, 5, 7, 7])).toBe(0);
  });

  it("come by area, then from left to right", () => {
    const finds = ([[9, 0, 10, 1], [0, 0, 1, 1], [0, 0, 2, 2]] as Box[]).map((box) => ({ box }));
    expect(largestFirst(finds).map(({ box }) => box)).toEqual([[0, 0, 2, 2], [0, 0, 1, 1], [9, 0, 10, 1]]);
  });

  it("that are reversed or not finite are refused", () => {
    expect(() => requireBox([3, 0, 1, 1])).toThrow("x1 must exceed x0");
    expect(() => requireBox([0, 0, Number.NaN, 1])).toThrow("four finite numbers");
  });
});
