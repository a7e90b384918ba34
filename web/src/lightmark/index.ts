/**
 * Lightmark in the browser: faces and their landmarks, on the visitor's own machine.
 *
 *   const detector = await loadDetector("models/face.onnx");
 *   const landmarker = await loadLandmarker("models/fast.onnx");
 *   const faces = await detect(picture, detector, landmarker);   // an <img>, a canvas, a video, an ImageData …
 *   faces[0].points                                              // [[x, y], …] in the picture's pixels
 */
import { findFaces } from "./detection";
import type { FaceDetector } from "./face_detector";
import type { Picture } from "./image";
import type { Face, Landmarker } from "./landmarker";
import { toPicture, type Source } from "./source";

export { LightmarkError } from "./errors";
export { FaceDetector, loadDetector, type Proposal } from "./face_detector";
export type { Box, Point } from "./geometry";
export type { Picture } from "./image";
export { Landmarker, loadLandmarker, type Face } from "./landmarker";
export { CLOSED_EYE, opennessOf, type Openness } from "./measures";
export { headPose, type Pose } from "./pose";
export { hasWebGpu, type Backend, type RuntimeOptions } from "./runtime";
export type { Schema } from "./schema";
export { OneEuro } from "./smoothing";
export { toPicture, type Source } from "./source";
export type { ModelSpec } from "./spec";
export { Tracker, type TrackedFace } from "./tracker";

/** The faces of a picture, the largest first: see `findFaces`. */
export async function detect(
  source: Source | Picture,
  detector: FaceDetector,
  landmarker: Landmarker,
): Promise<Face[]> {
  return findFaces(toPicture(source), detector, landmarker);
}
