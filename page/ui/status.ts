/** What goes on at the moment, and its end. */

import { at, clear, drawn } from "./dom.js";
import { fillTable } from "./table.js";

let stopWork = (): void => {};
let told = (): string => "";

export const stop = (): void => stopWork();

/** Says what goes on, and again when the language changes; `share` of it is done, null is unknown. */
export function busy(text: () => string, share?: number | null): void {
  told = text;
  at("status").textContent = text();
  at("stop").hidden = false;
  const bar = at<HTMLProgressElement>("progress");
  bar.hidden = share === undefined;
  if (typeof share === "number" && Number.isFinite(share)) bar.value = share;
  else bar.removeAttribute("value");
}

export function idle(text: () => string): void {
  told = text;
  at("status").textContent = text();
  at("progress").hidden = at("stop").hidden = true;
}

export const retell = (): void => void (at("status").textContent = told());

export function fail(error: unknown): void {
  idle(() => "");
  at("problem").textContent = error instanceof Error ? error.message : String(error);
}

/** Says what was not done, beside what goes on. */
export const warn = (text: string): void => void (at("problem").textContent = text);

/** Ends what went on before, clears the page, and does something new. Its signal tells when it is stopped or fails. */
export async function start(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  stopWork();
  const control = new AbortController(), { signal } = control;
  stopWork = () => control.abort();
  at("problem").textContent = "";
  clear();
  fillTable([], "faces.csv");
  drawn(retell);
  try {
    await work(signal);
  } catch (error) {
    if (signal.aborted) return; // what is on the page now is not of this work
    stopWork();
    fail(error);
  }
}
