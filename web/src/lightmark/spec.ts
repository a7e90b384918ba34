/** ModelSpec: what a landmark model takes and gives, as its file says (lightmark/spec.py). */
import { LightmarkError } from "./errors";
import type { BoxMap, Point } from "./geometry";
import type { Crop } from "./image";
import { schemaFromJson, type Schema } from "./schema";

export const METADATA_KEY = "lightmark";
export const DETECTOR_KEY = "lightmark_detector";
const VERSION = 1;
// Bounds of what a file may ask for, as in lightmark/spec.py: a crop of 4096² takes 201 MB.
const MOST_PIXELS = 4096;
const MOST_POINTS = 4096;
const MOST_SCALE = 100;

type Triple = readonly [number, number, number];

export interface ModelSpec {
  readonly schema: Schema;
  /** Pixels of a crop's side. */
  readonly size: number;
  /** Side of the crop over the longer side of the box. */
  readonly cropScale: number;
  /** Places of a model's own points in the face's box, in shares of its longer side from its centre. */
  readonly template: readonly Point[] | null;
  /** How that box moves with the face's shape. */
  readonly boxMap: BoxMap | null;
  readonly mean: Triple;
  readonly std: Triple;
  /** Whether the model has outputs for expected errors and confidence. */
  readonly confidence: boolean;
  readonly provenance: Readonly<Record<string, unknown>>;
}

/** Settings of a face detector. */
export interface DetectorSpec {
  /** Score from which on a find counts. */
  readonly threshold: number;
  /** Score from which on a landmark model is to judge it. */
  readonly possible: number;
  /** Width and height of its pictures are multiples of this. */
  readonly multiple: number;
}

/** The ModelSpec in the metadata of the file called `name`; throws a sentence for the person who chose it. */
export function specFromMetadata(metadata: ReadonlyMap<string, string>, name: string): ModelSpec {
  const text = metadata.get(METADATA_KEY);
  if (text !== undefined) return specFromJson(text, name);
  if (metadata.has(DETECTOR_KEY)) {
    throw new LightmarkError(`${name} is a face detector; choose a landmark model, written by “lightmark export”.`);
  }
  throw new LightmarkError(
    `${name} is an ONNX model, but not one of Lightmark’s: nothing in it says how faces are cropped for it. ` +
      "Write it with “lightmark export”.",
  );
}

export function specFromJson(text: string, name: string): ModelSpec {
  try {
    const data = JSON.parse(text) as Record<string, unknown>;
    if (data.lightmark !== VERSION) {
      throw new LightmarkError(`its ModelSpec has version ${String(data.lightmark)}, this page reads ${VERSION}`);
    }
    const schema = schemaFromJson(data.schema);
    if (schema.size > MOST_POINTS) throw new LightmarkError(`it has ${schema.size} points, more than ${MOST_POINTS}`);
    const size = number(data, "size", 16, MOST_PIXELS);
    if (!Number.isInteger(size)) throw new LightmarkError(`size is ${size}`);
    return {
      schema,
      size,
      cropScale: number(data, "crop_scale", Number.MIN_VALUE, MOST_SCALE),
      template: places(data, "template", schema.size),
      boxMap: boxMap(data, schema.size),
      mean: numbers(data, "mean", 3) as unknown as Triple,
      std: numbers(data, "std", 3, Number.MIN_VALUE) as unknown as Triple,
      confidence: data.confidence === true,
      provenance: (data.provenance ?? {}) as Record<string, unknown>,
    };
  } catch (error) {
    throw new LightmarkError(`${name} holds no usable ModelSpec: ${(error as Error).message}.`);
  }
}

/** The settings in the metadata of a face detector's file. */
export function detectorFromMetadata(metadata: ReadonlyMap<string, string>, name: string): DetectorSpec {
  try {
    const data = JSON.parse(metadata.get(DETECTOR_KEY) ?? "null") as Record<string, unknown>;
    const [threshold, possible] = [number(data, "threshold", 0), number(data, "possible", 0)];
    return { threshold, possible, multiple: number(data, "multiple", 1) };
  } catch {
    throw new LightmarkError(`${name} is not a face detector that Lightmark exported.`);
  }
}

function places(data: Record<string, unknown>, key: string, size: number): readonly Point[] | null {
  if (data[key] === undefined || data[key] === null) return null;
  const rows = data[key] as unknown[];
  if (!Array.isArray(rows) || rows.length !== size) throw new LightmarkError(`${key} needs ${size} points`);
  return rows.map((_, index) => numbers(rows as never, index as never, 2, -MOST_SCALE, MOST_SCALE) as unknown as Point);
}

function boxMap(data: Record<string, unknown>, size: number): BoxMap | null {
  if (data.box_map === undefined || data.box_map === null) return null;
  const parts = data.box_map as unknown[];
  if (!Array.isArray(parts) || parts.length !== 3 || !data.template) throw new LightmarkError("box_map does not fit");
  return parts.map((part) => {
    const weights = places({ box_map: part }, "box_map", size);
    if (!weights) throw new LightmarkError("box_map does not fit");
    return weights;
  });
}

function number(data: Record<string, unknown>, key: string, least: number, most = Number.MAX_VALUE): number {
  const value = data[key];
  if (typeof value !== "number" || !(value >= least && value <= most)) throw new LightmarkError(`${key} is ${String(value)}`);
  return value;
}

function numbers(
  data: Record<string, unknown>, key: string, count: number, least = -Number.MAX_VALUE, most = Number.MAX_VALUE,
): number[] {
  const values = data[key];
  const fits = (value: unknown): boolean => typeof value === "number" && value >= least && value <= most;
  if (!Array.isArray(values) || values.length !== count || !values.every(fits)) {
    throw new LightmarkError(`${key} is ${String(JSON.stringify(values)).slice(0, 80)}, needs ${count} numbers that fit`);
  }
  return values as number[];
}

/** Planes (B, 3, S, S) that the model takes: (pixel / 255 − mean) / std, one crop after the other. */
export function normaliseCrops(crops: readonly Crop[], spec: ModelSpec): Float32Array {
  const plane = spec.size * spec.size;
  const planes = new Float32Array(crops.length * 3 * plane);
  crops.forEach((crop, index) => {
    for (let channel = 0; channel < 3; channel++) {
      const scale = Math.fround(1 / (255 * spec.std[channel]));
      const shift = Math.fround(spec.mean[channel] / spec.std[channel]);
      const start = (index * 3 + channel) * plane;
      for (let pixel = 0; pixel < plane; pixel++) {
        planes[start + pixel] = crop.data[pixel * 3 + channel] * scale - shift;
      }
    }
  });
  return planes;
}

/** The bytes (B, S, S, 3) of crops, for models that take them as they are. */
export function cropBytes(crops: readonly Crop[]): Uint8Array {
  const length = crops[0]?.data.length ?? 0;
  const bytes = new Uint8Array(crops.length * length);
  crops.forEach((crop, index) => bytes.set(crop.data, index * length));
  return bytes;
}
