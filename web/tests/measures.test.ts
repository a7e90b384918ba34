import { describe, expect, it } from "vitest";
import type { Point } from "../src/lightmark/geometry";
import { opennessOf } from "../src/lightmark/measures";
import { furthest, golden } from "./golden";

describe("opennessOf", () => {
  it.each(golden.poses)("is Python's of left eye, right eye and mouth: $openness", ({ points, pose, openness }) => {
    const found = opennessOf(points as unknown as Point[], pose);
    expect(furthest([found.left, found.right, found.mouth], openness)).toBeLessThan(1e-9);
  });
});
