import { expect, it } from "vitest";
import type { ModelSpec } from "../src/lightmark/spec";
import { normaliseCrops } from "../src/lightmark/spec";
import { furthest, golden } from "./golden";

it("normalises crops to Python's planes", () => {
  const { mean, std, size, every_13th } = golden.planes;
  const bytes = Uint8Array.from({ length: 2 * size * size * 3 }, (_, index) => index);
  const crops = [0, 1].map((index) => ({
    width: size, height: size, data: bytes.subarray(index * size * size * 3, (index + 1) * size * size * 3),
  }));
  const planes = normaliseCrops(crops, { mean, std, size } as unknown as ModelSpec);
  expect(furthest([...planes].filter((_, index) => index % 13 === 0), every_13th)).toBeLessThan(1e-6);
});
