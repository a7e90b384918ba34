/** What page and worker say to each other. */
import type { Face } from "../lightmark/landmarker";
import type { Backend } from "../lightmark/runtime";
import type { ModelSpec } from "../lightmark/spec";

export interface LoadRequest {
  readonly kind: "load";
  readonly name: string;
  /** The model's address, or the file that the visitor chose. */
  readonly model: string | File;
  readonly detector: string;
  readonly ort: string;
  readonly backend: Backend;
  readonly threads: number | null;
}

export interface FindRequest {
  /** In a picture by itself, of which the worker gets a copy, or in the next frame of a camera, which it hands back. */
  readonly kind: "detect" | "track";
  readonly bitmap: ImageBitmap;
  readonly seconds: number;
  /** Smallest face to look for, as a share of the picture's longer side; null for the detector's own. */
  readonly minFace: number | null;
}

export interface ForgetRequest {
  readonly kind: "forget";
}

export type Request = LoadRequest | FindRequest | ForgetRequest;

export interface Loaded {
  readonly spec: ModelSpec;
  /** Megabytes, and milliseconds for reading and for starting it. */
  readonly bytes: number;
  readonly read: number;
  readonly start: number;
  readonly threads: number;
}

/** Milliseconds of each stage. */
export interface Stages {
  readonly pixels: number;
  readonly shrink: number;
  readonly detector: number;
  readonly crop: number;
  readonly landmarks: number;
  readonly total: number;
}

export interface Found {
  readonly faces: readonly (Face & { readonly id: number })[];
  readonly stages: Stages;
  /** Whether the detector looked at this picture. */
  readonly searched: boolean;
  /** The camera's frame, null for a picture. */
  readonly bitmap: ImageBitmap | null;
}

export type Answer =
  | { readonly id: number; readonly result: Loaded | Found | null }
  | { readonly id: number; readonly error: string; readonly expected: boolean };
