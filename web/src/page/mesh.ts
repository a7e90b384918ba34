/** Delaunay triangulation of points by insertion (Bowyer 1981, Watson 1981). */
import type { Point } from "../lightmark/geometry";

type Triangle = readonly [number, number, number];

/** Edges of the triangles between `points`, each once, as pairs of indices. */
export function meshEdges(points: readonly Point[]): [number, number][] {
  const count = points.length;
  const [low, high] = [Math.min(...points.flat()), Math.max(...points.flat())];
  const far = 1e3 * (high - low + 1);
  const all: Point[] = [...points, [low - far, low - far], [high + far, low - far], [low, high + far]];
  let triangles: Triangle[] = [[count, count + 1, count + 2]];
  for (let index = 0; index < count; index++) {
    const hit = triangles.filter((triangle) => circleHolds(all, triangle, all[index]));
    const sides = hit.flatMap(([a, b, c]): [number, number][] => [[a, b], [b, c], [c, a]]);
    const rim = sides.filter(([a, b]) => !sides.some(([c, d]) => a === d && b === c));
    triangles = triangles.filter((triangle) => !hit.includes(triangle));
    triangles.push(...rim.map(([a, b]): Triangle => [a, b, index]));
  }
  const edges = new Map<string, [number, number]>();
  for (const [a, b, c] of triangles) {
    for (const edge of [[a, b], [b, c], [c, a]] as const) {
      const [from, to] = [Math.min(...edge), Math.max(...edge)];
      if (to < count) edges.set(`${from} ${to}`, [from, to]);
    }
  }
  return [...edges.values()];
}

/** Whether `point` lies inside the circle through the corners of a triangle, whichever way it turns. */
function circleHolds(points: readonly Point[], triangle: Triangle, [x, y]: Point): boolean {
  const [[ax, ay], [bx, by], [cx, cy]] = triangle.map((index) => [points[index][0] - x, points[index][1] - y]);
  const [a, b, c] = [ax * ax + ay * ay, bx * bx + by * by, cx * cx + cy * cy];
  const inside = ax * (by * c - b * cy) - ay * (bx * c - b * cx) + a * (bx * cy - by * cx);
  const turn = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax);
  return inside * turn > 0;
}
