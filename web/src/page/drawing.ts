/** Drawing faces over a picture, at any scale. */
import { tightBox, type Point } from "../lightmark/geometry";
import type { Face } from "../lightmark/landmarker";
import { rotationOf } from "../lightmark/pose";
import type { Schema } from "../lightmark/schema";

export const LAYERS = ["points", "edges", "box", "expected_error", "pose"] as const;
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
const AXES = ["#f87171", "#4ade80", "#60a5fa"] as const;

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
    if (layers.expected_error && face.expected_error) drawDoubts(context, points, face.expected_error, colours, scale);
    if (layers.edges) drawEdges(context, points, schema, colours, stroke);
    if (layers.points) drawPoints(context, points, colours, stroke);
    if (layers.pose) drawPose(context, face, points, stroke);
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

function drawEdges(context: Context, points: readonly Point[], schema: Schema, colours: string[], stroke: number): void {
  for (const colour of new Set(colours)) {
    context.beginPath();
    for (const [from, to] of schema.edges) {
      if (colours[from] !== colour) continue;
      context.moveTo(...points[from]);
      context.lineTo(...points[to]);
    }
    haloed(context, colour, stroke * 0.8);
  }
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
function drawPose(context: Context, { pose }: Face, points: readonly Point[], stroke: number): void {
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
