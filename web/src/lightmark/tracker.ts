/** Tracker: the faces of a camera, frame by frame, each with an id that it keeps (lightmark/video/tracker.py). */
import { facesBeside, facesOf, type Finder, type Marker } from "./detection";
import { overlap, type Box } from "./geometry";
import type { Picture } from "./image";
import type { Face, Place } from "./landmarker";
import { OneEuro } from "./smoothing";

const SAME_FACE = 0.3; // IoU from which a find of the detector may be the face of a track
const CONVERGED = 0.5; // IoU from which two tracks are on one face
const SMALLEST = 8; // pixels of the shorter side of a face
const MISSES = 3; // searches in a row that may miss a face of a model without confidence
const REDETECT = 10; // frames after which the detector looks for faces that have come in
const MIN_CONFIDENCE = 0.5;
const PATIENCE = 0.5; // seconds for which a face may be away and keep its id
const MOST_FACES = 6;

export interface TrackedFace extends Face {
  readonly id: number;
}

interface Track {
  readonly id: number;
  readonly smoother: OneEuro;
  face: Face;
  /** Where the next crop is cut. */
  place: Place;
  seen: number;
  hidden: boolean;
  misses: number;
}

/** Follows faces: a face is sought in the box and at the roll of its last points, and the detector looks for new and lost ones. */
export class Tracker {
  private tracks: Track[] = [];
  private ids = 0;
  private unsearched = 0;

  constructor(
    private readonly detector: Finder,
    private readonly landmarker: Marker,
  ) {}

  /** Whether the detector looked at the last frame. */
  searched = false;

  /** The faces of the next frame, shown at `seconds`; those known longest first. */
  async update(picture: Picture, seconds: number): Promise<TrackedFace[]> {
    const before = this.inSight().length;
    await this.follow(picture, seconds);
    this.unsearched += 1;
    this.searched = this.inSight().length < Math.max(before, 1) || this.unsearched >= REDETECT;
    if (this.searched) await this.search(picture, seconds);
    this.tracks = this.tracks.filter((track) => seconds - track.seen <= PATIENCE);
    return this.inSight().map((track) => ({
      ...track.face,
      id: track.id,
      points: track.smoother.smooth(track.face.points, seconds, track.face.expected_error),
    }));
  }

  private inSight(): Track[] {
    return this.tracks.filter((track) => !track.hidden);
  }

  /** Look for every face where it last was; of two tracks that come upon one face, the one that moved less stays. */
  private async follow(picture: Picture, seconds: number): Promise<void> {
    const faces = await this.look(picture, this.tracks.map(({ place }) => place));
    const finds = this.tracks
      .map((track, index) => ({ track, face: faces[index], stayed: overlap(track.place.box, this.boxOf(faces[index])) }))
      .filter(({ face }) => this.holds(face, picture))
      .sort((a, b) => Number(a.track.hidden) - Number(b.track.hidden) || b.stayed - a.stayed);
    for (const track of this.tracks) track.hidden = true;
    for (const { track, face } of finds) {
      if (this.bestMatch(face, this.inSight()).share <= CONVERGED) this.see(track, face, seconds);
    }
  }

  /** Look at the whole picture for faces that nobody follows, and for those that have been away. */
  private async search(picture: Picture, seconds: number): Promise<void> {
    this.unsearched = 0;
    const proposals = await this.detector.propose(picture);
    const certain = proposals.filter((one) => one.sure);
    this.forgetMissed(certain.map((one) => one.box));
    const fresh = proposals.filter(({ box }) => this.inSight().every((track) => overlap(box, track.place.box) < SAME_FACE));
    let found = await facesOf(picture, fresh, this.landmarker);
    if (!found.length && certain.every((one) => fresh.includes(one))) {
      found = await facesBeside(picture, certain, this.detector, this.landmarker);
    }
    const sure = found.filter((face) => this.holds(face, picture));
    // Once more in the box of its own points, as in every frame to come: a detector's box is looser.
    const closer = await this.look(picture, sure.map((face) => this.landmarker.placeOf(face)));
    for (const face of closer) {
      if (this.inSight().length < MOST_FACES && this.holds(face, picture)) this.takeUp(face, seconds);
    }
  }

  private forgetMissed(boxes: readonly Box[]): void {
    for (const track of this.tracks) {
      const missed = boxes.every((box) => overlap(box, track.place.box) < SAME_FACE);
      track.misses = missed && track.face.confidence === null ? track.misses + 1 : 0;
    }
    this.tracks = this.tracks.filter((track) => track.misses < MISSES);
  }

  /** Follow `face`, under its old id if it has only been away, unless it is followed already. */
  private takeUp(face: Face, seconds: number): void {
    if (this.bestMatch(face, this.inSight()).share > CONVERGED) return;
    const { track, share } = this.bestMatch(face, this.tracks.filter((one) => one.hidden));
    if (track && share >= SAME_FACE) {
      this.see(track, face, seconds);
      return;
    }
    const place = this.landmarker.placeOf(face);
    this.tracks.push({ id: this.ids++, smoother: new OneEuro(), face, place, seen: seconds, hidden: false, misses: 0 });
  }

  private look(picture: Picture, places: readonly Place[]): Promise<Face[]> {
    return this.landmarker.landmarks(picture, places.map(({ box }) => box), places.map(({ roll }) => roll));
  }

  private see(track: Track, face: Face, seconds: number): void {
    track.face = face;
    track.place = this.landmarker.placeOf(face, track.place.roll);
    track.seen = seconds;
    track.hidden = false;
  }

  private boxOf(face: Face): Box {
    return this.landmarker.placeOf(face).box;
  }

  /** Whether `face` is one, as far as model and geometry can tell. */
  private holds(face: Face, { width, height }: Picture): boolean {
    const [x0, y0, x1, y1] = this.boxOf(face);
    const inside = 0 <= x0 + x1 && x0 + x1 <= 2 * (width - 1) && 0 <= y0 + y1 && y0 + y1 <= 2 * (height - 1);
    const large = Math.min(x1 - x0, y1 - y0) >= SMALLEST;
    return inside && large && (face.confidence === null || face.confidence >= MIN_CONFIDENCE);
  }

  private bestMatch(face: Face, tracks: readonly Track[]): { track: Track | null; share: number } {
    let best: { track: Track | null; share: number } = { track: null, share: 0 };
    for (const track of tracks) {
      const share = overlap(this.boxOf(face), track.place.box);
      if (best.track === null || share > best.share) best = { track, share };
    }
    return best;
  }
}
