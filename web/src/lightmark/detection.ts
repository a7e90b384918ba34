/** Detection: detector and landmark model together (Landmarker.detect in lightmark/landmarker.py). */
import { suppress, type Proposal } from "./face_detector";
import { tightBox, type Box } from "./geometry";
import type { Picture } from "./image";
import { CONFIRMED, DENIED, type Face, type Place } from "./landmarker";

/** What finds boxes in a picture, and says which of them it is sure of. */
export interface Finder {
  /** As if there were nothing at the places of `denied`, boxes in which the model saw no face. */
  propose(picture: Picture, denied?: readonly Box[]): Promise<Proposal[]>;
}

/** What finds the points in boxes, whose roll in degrees may be known. */
export interface Marker {
  landmarks(picture: Picture, boxes: readonly Box[], angles?: readonly (number | null)[]): Promise<Face[]>;
  confirm(picture: Picture, guesses: readonly Place[]): Promise<Face[]>;
  placeOf(face: Face, held?: number): Place;
}

/** The faces that the detector is sure of, and of what it only proposes those in which the model sees a face. */
export async function findFaces(
  picture: Picture, detector: Finder, landmarker: Pick<Marker, "confirm">,
): Promise<Face[]> {
  const proposals = await detector.propose(picture);
  const faces = await facesOf(picture, proposals, landmarker);
  return faces.length ? faces : facesBeside(picture, proposals.filter(({ sure }) => sure), detector, landmarker);
}

/** Faces of a second search where all that the detector was sure of is `denied`: it must not hide what is hard to see. */
export async function facesBeside(
  picture: Picture, denied: readonly Proposal[], detector: Finder, landmarker: Pick<Marker, "confirm">,
): Promise<Face[]> {
  if (!denied.length) return [];
  return facesOf(picture, await detector.propose(picture, denied.map(({ box }) => box)), landmarker);
}

/** Of `proposals` those that are faces: see `findFaces`. */
export async function facesOf(
  picture: Picture, proposals: readonly Proposal[], landmarker: Pick<Marker, "confirm">,
): Promise<Face[]> {
  const faces = await landmarker.confirm(picture, guessesOf(proposals));
  const standing = faces.filter((face, index) => stands(proposals[index], face));
  return proposals.some(({ sure }) => sure) ? standing : mostConfident(standing);
}

/** `faces` without those at the place of a more confident one: one face may be proposed by boxes that hardly overlap. */
function mostConfident(faces: readonly Face[]): Face[] {
  const found = faces.map(({ points, confidence }, index) => ({ box: tightBox(points), score: confidence ?? 0, index }));
  const kept = suppress(found).map(({ index }) => index);
  return faces.filter((_, index) => kept.includes(index));
}

/** Where to look first for the faces proposed. */
export function guessesOf(proposals: readonly Proposal[]): Place[] {
  return proposals.map(({ box, roll }) => ({ box, roll: roll ?? 0 }));
}

/** Whether what was proposed is a face after all. */
function stands({ sure }: Proposal, { confidence }: Face): boolean {
  return confidence === null ? sure : confidence >= (sure ? DENIED : CONFIRMED);
}
