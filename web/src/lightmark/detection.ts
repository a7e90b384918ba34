/** Detection: detector and landmark model together (Landmarker.detect in lightmark/landmarker.py). */
import { suppress, type Proposal } from "./face_detector";
import { tightBox, type Box } from "./geometry";
import type { Picture } from "./image";
import { CONFIRMED, DENIED, SURE, type Face, type Guess, type Place } from "./landmarker";

/** What finds boxes in a picture, and says which of them it is sure of. */
export interface Finder {
  /** As if there were nothing at the places of `denied`, boxes in which the model saw no face. */
  propose(picture: Picture, denied?: readonly Box[]): Promise<Proposal[]>;
}

/** What finds the points in boxes, whose roll in degrees may be known. */
export interface Marker {
  landmarks(picture: Picture, boxes: readonly Box[], angles?: readonly (number | null)[]): Promise<Face[]>;
  confirm(picture: Picture, guesses: readonly Guess[]): Promise<Face[]>;
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

/** Of `proposals` those that are faces: see `findFaces`. `isSure`: of some face in the picture, not only of these. */
export async function facesOf(
  picture: Picture, proposals: readonly Proposal[], landmarker: Pick<Marker, "confirm">,
  isSure = proposals.some(({ sure }) => sure),
): Promise<Face[]> {
  const faces = await landmarker.confirm(picture, guessesOf(proposals, isSure));
  // Beside a face, clothes reach a confidence of 0.97.
  const standing = faces.filter((face, index) => stands(proposals[index], face, isSure ? SURE : CONFIRMED));
  return isSure ? standing : mostConfident(standing);
}

/** `faces` without those at the place of a more confident one: one face may be proposed by boxes that hardly overlap. */
function mostConfident(faces: readonly Face[]): Face[] {
  const found = faces.map(({ points, confidence }, index) => ({ box: tightBox(points), score: confidence ?? 0, index }));
  const kept = suppress(found).map(({ index }) => index);
  return faces.filter((_, index) => kept.includes(index));
}

/**
 * Where to look for the faces proposed. Beside a box that the detector is sure of, what is only proposed is hardly ever a
 * face: it is not searched for in all directions.
 */
export function guessesOf(proposals: readonly Proposal[], isSure: boolean): Guess[] {
  return proposals.map(({ box, sure, roll }) => ({ box, roll: roll ?? 0, anyDirection: sure || !isSure }));
}

/** Whether what was proposed is a face after all. */
function stands(proposal: Proposal, face: Face, least: number): boolean {
  if (proposal.sure) return face.confidence === null || face.confidence >= DENIED;
  return face.confidence !== null && face.confidence >= least;
}
