/** Engine: the worker as the page sees it, one promise a question. */
import type { Answer, Found, ForgetRequest, FindRequest, Loaded, LoadRequest, Request } from "./messages";

/** Something the visitor can do something about; its message is for them. */
export class Refusal extends Error {
  override name = "Refusal";
}

interface Waiting {
  resolve(result: Loaded | Found | null): void;
  reject(error: Error): void;
}

export class Engine {
  private readonly worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  private readonly waiting = new Map<number, Waiting>();
  private next = 0;

  constructor() {
    this.worker.addEventListener("message", (event: MessageEvent<Answer>) => this.take(event.data));
    this.worker.addEventListener("error", (event) => this.fail(event.message || "the worker does not start"));
  }

  load(request: LoadRequest): Promise<Loaded> {
    return this.ask(request, []) as Promise<Loaded>;
  }

  find(request: FindRequest): Promise<Found> {
    return this.ask(request, request.kind === "track" ? [request.bitmap] : []) as Promise<Found>;
  }

  async forget(): Promise<void> {
    await this.ask({ kind: "forget" } satisfies ForgetRequest, []);
  }

  private ask(request: Request, transfer: Transferable[]): Promise<Loaded | Found | null> {
    const id = this.next++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, request }, transfer);
    });
  }

  private take(answer: Answer): void {
    const waiting = this.waiting.get(answer.id);
    this.waiting.delete(answer.id);
    if ("error" in answer) waiting?.reject(answer.expected ? new Refusal(answer.error) : new Error(answer.error));
    else waiting?.resolve(answer.result);
  }

  private fail(message: string): void {
    for (const waiting of this.waiting.values()) waiting.reject(new Error(message));
    this.waiting.clear();
  }
}
