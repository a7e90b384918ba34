import { expect, it } from "vitest";
import type { Point } from "../src/lightmark/geometry";
import { chains, hull, pointColours } from "../src/page/drawing";
import { meshEdges } from "../src/page/mesh";
import { golden } from "./golden";

it("colours points by their group, and alike where there is none", () => {
  const groups = { eyes: [0], cheeks: [1] };
  const colours = pointColours({ name: "own", size: 3, mirror: [0, 1, 2], edges: [], groups });
  expect(colours[1]).toBe(colours[2]);
  expect(colours[0]).not.toBe(colours[1]);
});

it("joins edges to lines, of which a closed one ends where it begins", () => {
  const edges: [number, number][] = [[0, 1], [1, 2], [2, 0], [3, 4], [5, 6]];
  const schema = { name: "own", size: 7, mirror: [0, 1, 2, 3, 4, 5, 6], edges, groups: {} };
  expect(chains(schema)).toEqual([[0, 1, 2, 0], [3, 4], [5, 6]]);
});

it("leaves what lies within out of the hull", () => {
  const corners: Point[] = [[0, 0], [4, 0], [4, 4], [0, 4]];
  const found = hull([...corners, [2, 2], [1, 3], [2, 0]]);
  expect(found).toHaveLength(4);
  expect(new Set(found.map(String))).toEqual(new Set(corners.map(String)));
});

it("meshes a square with one point inside by its sides and four spokes", () => {
  const edges = meshEdges([[0, 0], [4, 0], [4, 4], [0, 4], [2, 1]]).map((edge) => edge.join("-")).sort();
  expect(edges).toEqual(["0-1", "0-3", "0-4", "1-2", "1-4", "2-3", "2-4", "3-4"]);
});

it("meshes a face by triangles of which no circle holds another point", () => {
  const points = golden.poses[0].points as unknown as Point[];
  const edges = meshEdges(points);
  // Euler: 3n − 3 − hull edges.
  expect(edges.length).toBe(3 * points.length - 3 - hull(points).length);
});
