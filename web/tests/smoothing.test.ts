import { expect, it } from "vitest";
import type { Point } from "../src/lightmark/geometry";
import { OneEuro } from "../src/lightmark/smoothing";
import { furthest, golden } from "./golden";

it("smooths as Python does, doubtful points more", () => {
  const filter = new OneEuro();
  for (const { seconds, points, doubt, smooth } of golden.smoothing) {
    expect(furthest(filter.smooth(points as unknown as Point[], seconds, doubt), smooth)).toBeLessThan(1e-9);
  }
});
