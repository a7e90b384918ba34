/** Camera: frames, one at a time, each asked for when the last one is done with. */
import { Refusal } from "./engine";

type Facing = "user" | "environment";

const REASONS: Readonly<Record<string, string>> = {
  NotAllowedError: "The camera is not allowed here. Allow it in the browser’s address bar, then try again.",
  NotFoundError: "No camera was found on this device.",
  NotReadableError: "The camera is in use by another program.",
  OverconstrainedError: "No camera was found that fits.",
};

export class Camera {
  private readonly video = document.createElement("video");
  private stream: MediaStream | null = null;
  private fresh = false; // a frame has come that nobody has had
  private arrived: (() => void) | null = null;
  facing: Facing = "user";

  constructor() {
    this.video.muted = true;
    this.video.playsInline = true;
  }

  /** Whether more than one camera is there to choose from. */
  several = false;

  /** Whether the picture should be shown as in a mirror. */
  get mirrored(): boolean {
    const facing = this.stream?.getVideoTracks()[0]?.getSettings().facingMode;
    return facing ? facing === "user" : this.facing === "user";
  }

  /** Throws a sentence for the visitor where there is no camera to be had. */
  async start(facing: Facing): Promise<void> {
    this.stop();
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Refusal("Browsers give a camera only to pages on localhost or https, and this one is on neither.");
    }
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({
        video: { facingMode: facing, width: { ideal: 1280 }, height: { ideal: 720 } },
      });
    } catch (error) {
      const { name, message } = error as DOMException;
      throw new Refusal(REASONS[name] ?? `The camera does not start: ${message}`);
    }
    this.facing = facing;
    this.video.srcObject = this.stream;
    this.watch(this.stream);
    await this.video.play();
    const devices = await navigator.mediaDevices.enumerateDevices();
    this.several = devices.filter(({ kind }) => kind === "videoinput").length > 1;
  }

  get running(): boolean {
    return this.stream !== null;
  }

  /** Calls `ended` if the camera goes away by itself. */
  onEnded(ended: () => void): void {
    this.stream?.getVideoTracks()[0]?.addEventListener("ended", ended);
  }

  /** The latest frame that nobody has had, or the next one; null once the camera is stopped. */
  async frame(): Promise<ImageBitmap | null> {
    if (!this.fresh && this.stream) await new Promise<void>((resolve) => (this.arrived = resolve));
    this.fresh = false;
    if (!this.stream || !this.video.videoWidth) return null;
    return createImageBitmap(this.video);
  }

  /** Notes each frame as it comes, for as long as `stream` is the one that runs. */
  private watch(stream: MediaStream): void {
    const came = (): void => {
      if (this.stream !== stream) return;
      this.announce();
      next();
    };
    const next = (): void => {
      if ("requestVideoFrameCallback" in this.video) this.video.requestVideoFrameCallback(came);
      else requestAnimationFrame(came);
    };
    next();
  }

  private announce(): void {
    this.fresh = true;
    this.arrived?.();
    this.arrived = null;
  }

  stop(): void {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
    this.video.srcObject = null;
    this.announce(); // whoever waits learns that there will be none
  }
}
