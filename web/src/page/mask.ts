/** The face in the empty frame: the 68 points of a drawn head (lightmark.data.synthetic), turned by 22°. */
import type { Point } from "../lightmark/geometry";

const NAMESPACE = "http://www.w3.org/2000/svg";
// prettier-ignore
const LINES: readonly (readonly Point[])[] = [
  [[11, 39], [13.7, 52], [17.5, 64.5], [23.4, 76.9], [31.7, 88.1], [43.1, 97.6], [55.8, 104.9], [68.8, 109.6], [80.7, 110], [91, 106.5], [99, 99], [104.4, 89.5], [107.9, 78.3], [109, 66.3], [108.7, 53.6], [107.8, 41], [106.1, 28]],
  [[28.9, 24.2], [37.2, 17.4], [47.1, 13.9], [57.2, 13.7], [66.2, 16.4]],
  [[82.4, 15], [88.6, 11.2], [95.4, 10], [101.2, 12.1], [104.3, 17.6]],
  [[75.8, 27.6], [79.2, 35.7], [82.4, 44.1], [85.8, 52.5]],
  [[71.1, 61.1], [77.9, 62.6], [83.7, 63.2], [87.5, 61.5], [90.3, 58.9]],
  [[40.9, 33.2], [47.8, 28.1], [54.7, 27.4], [60.9, 31.8], [55.3, 34.1], [48.5, 34.9], [40.9, 33.2]],
  [[84.5, 29.6], [89.6, 24.2], [94.9, 23.9], [97.9, 27.9], [95.6, 30.4], [90.2, 30.8], [84.5, 29.6]],
  [[58.6, 78.2], [68.3, 75], [79.1, 73.1], [83.9, 73.6], [87.7, 72.1], [94.5, 71.8], [99.3, 73.1], [94.7, 80.4], [89, 85.4], [84.5, 86.5], [79.5, 86.7], [69.5, 83.6], [58.6, 78.2]],
  [[61.2, 77.9], [78.4, 78.5], [83.5, 78.2], [88, 77.3], [97.2, 73.4], [87.9, 78.2], [83.4, 79], [78.4, 79.5], [61.2, 77.9]],
];

export function drawMask(svg: Element): void {
  for (const line of LINES) {
    const path = document.createElementNS(NAMESPACE, "polyline");
    path.setAttribute("points", line.map((point) => point.join(",")).join(" "));
    svg.append(path);
  }
  for (const [x, y] of LINES.flat()) {
    const dot = document.createElementNS(NAMESPACE, "circle");
    for (const [name, value] of Object.entries({ cx: x, cy: y, r: 1.3 })) dot.setAttribute(name, String(value));
    svg.append(dot);
  }
}
