/** View: the picture and what is drawn over it, as large as there is room for. */
import type { Face } from "../lightmark/landmarker";
import type { Schema } from "../lightmark/schema";
import { drawFaces, type Layers } from "./drawing";

/** A picture in the hand: `width` and `height` are the original's, of which `bitmap` may be a smaller copy. */
export interface Shot {
  readonly name: string;
  readonly bitmap: ImageBitmap;
  readonly width: number;
  readonly height: number;
}

/** What is to be seen; the faces are in pixels of the bitmap. */
export interface Scene {
  readonly shot: Shot;
  readonly faces: readonly Face[];
  readonly schema: Schema | null; // null while no model is loaded yet: then there are no faces
}

const LARGEST_ZOOM = 2.5;
const LARGEST_SHARE = 0.72; // of the window's height
const LEAST_HEIGHT = 320;

export class View {
  private scene: Scene | null = null;
  private zoom = 1;

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly frame: HTMLElement,
    private readonly layers: () => Layers,
    private readonly chosen: () => number | null,
  ) {
    new ResizeObserver(() => this.draw()).observe(frame);
  }

  show(scene: Scene | null): void {
    this.scene = scene;
    this.canvas.hidden = !scene;
    this.draw();
  }

  draw(): void {
    if (!this.scene) return;
    const { shot, faces, schema } = this.scene;
    const { width, height } = shot.bitmap;
    const room = Math.max(LEAST_HEIGHT, window.innerHeight * LARGEST_SHARE);
    this.zoom = Math.min(this.frame.clientWidth / width, room / height, LARGEST_ZOOM);
    const density = Math.min(window.devicePixelRatio || 1, 2);
    const size = [width, height].map((side) => Math.max(1, Math.round(side * this.zoom * density)));
    if (this.canvas.width !== size[0] || this.canvas.height !== size[1]) [this.canvas.width, this.canvas.height] = size;
    this.canvas.style.width = `${Math.round(width * this.zoom)}px`;
    this.canvas.style.height = `${Math.round(height * this.zoom)}px`;
    const context = this.canvas.getContext("2d");
    if (!context) return;
    context.imageSmoothingQuality = "high";
    context.drawImage(shot.bitmap, 0, 0, size[0], size[1]);
    if (schema) drawFaces(context, faces, schema, this.layers(), size[0] / width, this.chosen());
  }

  /** The face under a place on the canvas, null for none. */
  faceAt(event: MouseEvent): number | null {
    if (!this.scene) return null;
    const { left, top, width } = this.canvas.getBoundingClientRect();
    const scale = this.scene.shot.bitmap.width / width;
    const seen = (event.clientX - left) * scale;
    const x = this.frame.dataset.mirrored === "true" ? this.scene.shot.bitmap.width - seen : seen;
    const y = (event.clientY - top) * scale;
    const index = this.scene.faces.findIndex(({ box }) => box[0] <= x && x <= box[2] && box[1] <= y && y <= box[3]);
    return index < 0 ? null : index;
  }

  /** The whole picture with all that is shown, as a PNG in the bitmap's own pixels. */
  async toPng(): Promise<Blob | null> {
    if (!this.scene) return null;
    const { shot, faces, schema } = this.scene;
    const sheet = new OffscreenCanvas(shot.bitmap.width, shot.bitmap.height);
    const context = sheet.getContext("2d");
    if (!context) return null;
    context.drawImage(shot.bitmap, 0, 0);
    if (schema) drawFaces(context, faces, schema, this.layers(), 1);
    return sheet.convertToBlob({ type: "image/png" });
  }
}
