import { expect, it } from "vitest";
import { pointColours } from "../src/page/drawing";

it("colours points by their group, and alike where there is none", () => {
  const groups = { eyes: [0], cheeks: [1] };
  const colours = pointColours({ name: "own", size: 3, mirror: [0, 1, 2], edges: [], groups });
  expect(colours[1]).toBe(colours[2]);
  expect(colours[0]).not.toBe(colours[1]);
});
