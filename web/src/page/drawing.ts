/** Drawing faces over a picture, at any scale. */
import { tightBox, type Point } from "../lightmark/geometry";
import type { Face } from "../lightmark/landmarker";
import { CLOSED_EYE, opennessOf } from "../lightmark/measures";
import { rotationOf } from "../lightmark/pose";
import type { Schema } from "../lightmark/schema";
import { meshEdges } from "./mesh";

/** From the bottom to the top; all but `expected_error` are styles of lightmark/overlay.py, with its colours. */
export const LAYERS = ["box", "filled", "mesh", "lines", "expected_error", "points", "axes", "eyes"] as const;
export type Layer = (typeof LAYERS)[number];
export type Layers = Readonly<Record<Layer, boolean>>;

const PLAIN = "#4ade80";
const COLOURS: Readonly<Record<string, string>> = {
  jaw: "#5eead4",
  brows: "#fde047",
  nose: "#86efac",
  eyes: "#7dd3fc",
  mouth: "#fda4af",
};
const BOX = "#ffffff";
const HALO = "rgba(0, 0, 0, 0.45)";
const MESH = "#dbeafe";
const AXES = ["#f87171", "#4ade80", "#60a5fa"] as const;
const [CLOSED, OPEN] = [AXES[0], PLAIN];

type Context = CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D;

/** Colour of each point, by the group that it belongs to. */
export function pointColours(schema: Schema): string[] {
  const colours = new Array<string>(schema.size).fill(PLAIN);
  for (const [group, members] of Object.entries(schema.groups)) {
    for (const index of members) colours[index] = COLOURS[group] ?? PLAIN;
  }
  return colours;
}

/**
 * Draw `faces`, whose pixels are `scale` pixels of the canvas. Pixel centres are at integers in the picture and at
 * halves on a canvas.
 */
export function drawFaces(
  context: Context,
  faces: readonly Face[],
  schema: Schema,
  layers: Layers,
  scale: number,
  chosen: number | null = null,
): void {
  const place = ([x, y]: Point): Point => [(x + 0.5) * scale, (y + 0.5) * scale];
  const colours = pointColours(schema);
  context.save();
  context.lineCap = context.lineJoin = "round";
  faces.forEach((face, index) => {
    const points = face.points.map(place);
    const [x0, y0, x1, y1] = tightBox(points);
    // As thick as `lightmark detect --draw` draws: a face of 200 px gets dots of 1.5 px.
    const stroke = Math.max(1.4, Math.max(x1 - x0, y1 - y0) / 160);
    context.globalAlpha = chosen === null || chosen === index ? 1 : 0.8;
    if (layers.box) drawBox(context, face, place, stroke);
    if (layers.filled) drawFilled(context, points, schema);
    if (layers.mesh) drawMesh(context, points, stroke);
    if (layers.lines) drawLines(context, points, schema, colours, stroke);
    if (layers.expected_error && face.expected_error) drawDoubts(context, points, face.expected_error, colours, scale);
    if (layers.points) drawPoints(context, points, colours, stroke);
    if (layers.axes) drawAxes(context, face, points, stroke);
    if (layers.eyes) drawEyes(context, face, points, schema, stroke);
  });
  context.restore();
}

function drawBox(context: Context, { box }: Face, place: (point: Point) => Point, stroke: number): void {
  const [[x0, y0], [x1, y1]] = [place([box[0], box[1]]), place([box[2], box[3]])];
  const corner = Math.min(x1 - x0, y1 - y0) / 5;
  context.beginPath();
  for (const [x, y, dx, dy] of [
    [x0, y0, 1, 1],
    [x1, y0, -1, 1],
    [x1, y1, -1, -1],
    [x0, y1, 1, -1],
  ]) {
    context.moveTo(x + dx * corner, y);
    context.lineTo(x, y);
    context.lineTo(x, y + dy * corner);
  }
  haloed(context, BOX, stroke * 1.2);
}

/** Edges of `schema` joined to lines of point indices; a closed line ends with its first point. */
export function chains(schema: Schema): number[][] {
  const lines: number[][] = [];
  for (const [start, end] of schema.edges) {
    const last = lines.at(-1);
    if (last && last.at(-1) === start && last[0] !== start) last.push(end);
    else lines.push([start, end]);
  }
  return lines;
}

function drawLines(context: Context, points: readonly Point[], schema: Schema, colours: string[], stroke: number): void {
  for (const line of chains(schema)) {
    trace(context, [line.map((index) => points[index])]);
    haloed(context, colours[line[0]], stroke * 0.8);
  }
}

/** The whole face, then brows, nose, eyes and lips, each in a translucent colour; what lies between lips stays free. */
function drawFilled(context: Context, points: readonly Point[], schema: Schema): void {
  const alpha = context.globalAlpha;
  const fill = (outlines: readonly (readonly Point[])[], colour: string, share: number): void => {
    trace(context, outlines);
    context.globalAlpha = alpha * share;
    context.fillStyle = colour;
    context.fill("evenodd");
    context.globalAlpha = alpha;
  };
  fill([hull(points)], COLOURS.jaw, 0.16);
  const lines = chains(schema);
  for (const [group, members] of Object.entries(schema.groups)) {
    const own = lines.filter(([first]) => members.includes(first));
    const closed = own.filter((line) => line[0] === line.at(-1));
    const open = group === "jaw" ? [] : group === "brows" ? own : [members];
    const at = (line: readonly number[]): Point[] => line.map((index) => points[index]);
    fill(closed.length ? closed.map(at) : open.map((line) => hull(at(line))), COLOURS[group] ?? PLAIN, 0.55);
  }
}

/** Convex hull of `points` (Andrew 1979). */
export function hull(points: readonly Point[]): Point[] {
  const sorted = [...points].sort(([ax, ay], [bx, by]) => ax - bx || ay - by);
  const half = (ordered: readonly Point[]): Point[] => {
    const kept: Point[] = [];
    for (const [x, y] of ordered) {
      while (kept.length > 1) {
        const [[ax, ay], [bx, by]] = kept.slice(-2);
        if ((bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0) break;
        kept.pop();
      }
      kept.push([x, y]);
    }
    return kept.slice(0, -1);
  };
  return [...half(sorted), ...half(sorted.reverse())];
}

function drawMesh(context: Context, points: readonly Point[], stroke: number): void {
  trace(context, meshEdges(points).map(([from, to]) => [points[from], points[to]]));
  haloed(context, MESH, stroke * 0.4);
}

/** Eyelids in the colour of open or closed, and below each eye a bar as long as it is open. */
function drawEyes(context: Context, face: Face, points: readonly Point[], schema: Schema, stroke: number): void {
  if (!face.pose) return;
  const { left, right } = opennessOf(face.points, face.pose);
  const lids = chains(schema).filter((line) => schema.groups.eyes?.includes(line[0]) && line[0] === line.at(-1));
  // The schemas begin with the eye on the picture's left, the person's right, and each eye at its corner on the left.
  [right, left].forEach((openness, index) => {
    const [colour, eye] = [openness < CLOSED_EYE ? CLOSED : OPEN, lids[index].map((point) => points[point])];
    trace(context, [eye]);
    haloed(context, colour, stroke * 0.8);
    const corner = eye[(eye.length - 1) / 2];
    const [dx, dy] = [corner[0] - eye[0][0], corner[1] - eye[0][1]];
    const [x, y] = [(corner[0] + eye[0][0] - dx) / 2 - 0.55 * dy, (corner[1] + eye[0][1] - dy) / 2 + 0.55 * dx];
    trace(context, [[[x, y], [x + dx, y + dy]]]);
    haloed(context, "#000000", stroke * 2);
    trace(context, [[[x, y], [x + openness * dx, y + openness * dy]]]);
    haloed(context, colour, stroke * 2);
  });
}

/** Make `lines` the path. */
function trace(context: Context, lines: readonly (readonly Point[])[]): void {
  context.beginPath();
  for (const line of lines) line.forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
}

function drawPoints(context: Context, points: readonly Point[], colours: string[], stroke: number): void {
  points.forEach(([x, y], index) => {
    disc(context, x, y, stroke * 1.25 + 0.8, HALO);
    disc(context, x, y, stroke * 1.25, colours[index]);
  });
}

/** A circle around each point, as large as its expected error. */
function drawDoubts(
  context: Context,
  points: readonly Point[],
  doubts: readonly number[],
  colours: string[],
  scale: number,
): void {
  const alpha = context.globalAlpha;
  points.forEach(([x, y], index) => {
    context.globalAlpha = alpha * 0.28;
    disc(context, x, y, doubts[index] * scale, colours[index]);
    context.globalAlpha = alpha * 0.9;
    context.lineWidth = 1;
    context.strokeStyle = colours[index];
    context.stroke();
  });
  context.globalAlpha = alpha;
}

/** Three axes from the middle of the face: to its left, upwards, and where it looks. */
function drawAxes(context: Context, { pose }: Face, points: readonly Point[], stroke: number): void {
  if (!pose) return;
  const rotation = rotationOf(pose);
  const [x0, y0, x1, y1] = tightBox(points);
  const length = Math.max(x1 - x0, y1 - y0) * 0.45;
  const [x, y] = [(x0 + x1) / 2, (y0 + y1) / 2];
  const axes = [
    [1, 0, 0],
    [0, -1, 0],
    [0, 0, 1],
  ].map((axis) => rotation.map((row) => row.reduce((sum, value, index) => sum + value * axis[index], 0)));
  const order = [0, 1, 2].sort((a, b) => axes[a][2] - axes[b][2]); // what points at the viewer comes last
  for (const index of order) {
    const [dx, dy] = axes[index];
    context.beginPath();
    context.moveTo(x, y);
    context.lineTo(x + dx * length, y + dy * length);
    haloed(context, AXES[index], stroke * 1.8);
    disc(context, x + dx * length, y + dy * length, stroke * 2, AXES[index]);
  }
}

/** Stroke the path in `colour` on a darker edge, so that it reads on skin and on shadow. */
function haloed(context: Context, colour: string, width: number): void {
  context.strokeStyle = HALO;
  context.lineWidth = width + 1.2;
  context.stroke();
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.stroke();
}

function disc(context: Context, x: number, y: number, radius: number, colour: string): void {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = colour;
  context.fill();
}
