import { describe, expect, it } from "vitest";
import { reduceByArea, regionOf, warp } from "../src/lightmark/image";
import { cropOf, furthest, golden, matrixOf, pictureOf } from "./golden";

const picture = pictureOf(golden.picture);

function differences(got: Uint8Array, wanted: Uint8Array): { most: number; share: number } {
  let [most, count] = [0, 0];
  got.forEach((value, index) => {
    const difference = Math.abs(value - wanted[index]);
    most = Math.max(most, difference);
    count += difference > 0 ? 1 : 0;
  });
  return { most, share: count / got.length };
}

describe("warp", () => {
  it.each(golden.warps)("gives OpenCV's pixels to one grey level: $name", ({ matrix, crop }) => {
    const wanted = cropOf(crop);
    const got = warp(picture, matrixOf(matrix), wanted.width, wanted.height);
    expect(got.data.length).toBe(wanted.data.length);
    const { most, share } = differences(got.data, wanted.data);
    expect(most).toBeLessThanOrEqual(1);
    expect(share).toBeLessThan(0.05);
  });
});

describe("reduceByArea", () => {
  it.each(golden.reductions)("means OpenCV's blocks of $factor", ({ factor, view, region, matrix, reduced }) => {
    expect(regionOf(matrixOf(view), 16, 12)).toEqual(region);
    const [got, moved] = reduceByArea(picture, factor, region as unknown as [number, number, number, number]);
    const wanted = cropOf(reduced);
    expect([got.width, got.height]).toEqual([wanted.width, wanted.height]);
    const rgb = got.data.filter((_, index) => index % 4 !== 3);
    expect(differences(rgb as Uint8Array, wanted.data).most).toBeLessThanOrEqual(1);
    expect(furthest(moved, matrix)).toBeLessThan(1e-12);
  });
});
