/** Milliseconds spent on cutting pictures and in networks, added up until they are taken. */
export interface Costs {
  readonly crop: number;
  readonly network: number;
}

export class Stopwatch {
  private crop = 0;
  private network = 0;

  /** Add what passed between three readings of `performance.now`. */
  add(began: number, cropped: number, ended: number): void {
    this.crop += cropped - began;
    this.network += ended - cropped;
  }

  /** What was added since this was last called. */
  take(): Costs {
    const costs = { crop: this.crop, network: this.network };
    this.crop = this.network = 0;
    return costs;
  }
}
