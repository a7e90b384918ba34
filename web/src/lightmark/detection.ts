/** Detection: detector and landmark model together (Landmarker.detect in lightmark/landmarker.py). */
import { suppress, type Proposal } from "./face_detector";
import { tightBox, type Box } from "./geometry";
import { partOf, type Picture } from "./image";
import { LIKELY, TURNED, type Face, type Guess, type Place } from "./landmarker";

const SURROUNDINGS = 3; // sides of a box: a face fills a third of what the detector then sees

/** What finds boxes in a picture, and says which of them it is sure of. */
export interface Finder {
  propose(picture: Picture): Promise<Proposal[]>;
  /** The same in turned copies of the picture, for one that finds upright faces. */
  proposeTurned?(picture: Picture): Promise<Proposal[]>;
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
  return facesOf(picture, await detector.propose(picture), detector, landmarker);
}

/** Of `proposals` those that are faces: see `findFaces`. */
export async function facesOf(
  picture: Picture, proposals: readonly Proposal[], detector: Finder, landmarker: Pick<Marker, "confirm">,
): Promise<Face[]> {
  const faces = await landmarker.confirm(picture, guessesOf(proposals));
  for (const [index, { sure }] of proposals.entries()) {
    const denied = sure && faces[index].confidence !== null && faces[index].confidence < LIKELY;
    if (denied) faces[index] = (await searchAround(picture, faces[index].box, detector, landmarker)) ?? faces[index];
  }
  const standing = faces.filter((face, index) => stands(proposals[index], face));
  return proposals.some(({ sure }) => sure) ? standing : mostConfident(standing);
}

/**
 * The face that the model sees in turned copies of the surroundings of `box`; null for none. The detector may find a face
 * that is rolled in a box so far off that no crop of it shows the whole face.
 */
async function searchAround(
  picture: Picture, box: Box, detector: Finder, landmarker: Pick<Marker, "confirm">,
): Promise<Face | null> {
  const [x, y] = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
  const half = (SURROUNDINGS * Math.max(box[2] - box[0], box[3] - box[1])) / 2;
  const [left, top] = [Math.max(0, Math.round(x - half)), Math.max(0, Math.round(y - half))];
  const part = partOf(picture, [left, top, Math.round(x + half), Math.round(y + half)]);
  const proposals = (await detector.proposeTurned?.(part)) ?? [];
  const guesses = proposals.map(({ box: [x0, y0, x1, y1], roll }): Guess => (
    { box: [x0 + left, y0 + top, x1 + left, y1 + top], roll: roll ?? 0, anyDirection: false }
  ));
  // The surroundings may show other faces.
  const covering = guesses.filter((one) => one.box[0] <= x && x <= one.box[2] && one.box[1] <= y && y <= one.box[3]);
  const faces = await landmarker.confirm(picture, covering);
  const surest = faces.sort((a, b) => (b.confidence ?? 0) - (a.confidence ?? 0)).at(0);
  return surest && (surest.confidence ?? 0) >= TURNED ? surest : null;
}

/** `faces` without those at the place of a more confident one: the upright picture and a copy of it proposed both. */
function mostConfident(faces: readonly Face[]): Face[] {
  const found = faces.map(({ points, confidence }, index) => ({ box: tightBox(points), score: confidence ?? 0, index }));
  const kept = suppress(found).map(({ index }) => index);
  return faces.filter((_, index) => kept.includes(index));
}

/**
 * Where to look for the faces proposed. Beside a box that the detector is sure of, what is only proposed is hardly ever a
 * face: it is not searched for in all directions.
 */
export function guessesOf(proposals: readonly Proposal[]): Guess[] {
  const alone = proposals.every(({ sure }) => !sure);
  return proposals.map(({ box, sure, roll }) => ({ box, roll: roll ?? 0, anyDirection: sure || alone }));
}

/** Whether what was proposed is a face after all. */
export function stands(proposal: Proposal, face: Face): boolean {
  return proposal.sure || (face.confidence !== null && face.confidence >= LIKELY);
}
