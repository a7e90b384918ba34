/** The face in the empty frame: the mean head's own points, slightly turned. */
import { HEAD } from "../lightmark/head";
import { rotationOf } from "../lightmark/pose";

const NAMESPACE = "http://www.w3.org/2000/svg";
// Brows, bridge, nostrils and both eyes among the head's points 17 to 47.
const LINES = [
  [0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 12, 13], [14, 15, 16, 17, 18], [19, 20, 21, 22, 23, 24, 19],
  [25, 26, 27, 28, 29, 30, 25],
];

export function drawMask(svg: Element): void {
  const rotation = rotationOf({ yaw: 22, pitch: 4, roll: 6 });
  const places = HEAD.map((point) =>
    rotation.slice(0, 2).map((row, axis) => 60 + (axis ? -8 : 0) + 84 * row.reduce((sum, value, i) => sum + value * point[i], 0)),
  );
  for (const line of LINES) {
    line.slice(1).forEach((to, index) => {
      const [from, end] = [places[line[index]], places[to]];
      svg.append(shape("line", { x1: from[0], y1: from[1], x2: end[0], y2: end[1] }));
    });
  }
  for (const [cx, cy] of places) svg.append(shape("circle", { cx, cy, r: 1.7 }));
}

function shape(name: string, attributes: Record<string, number>): Element {
  const made = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value.toFixed(2));
  return made;
}
