/** What the page says. Another language is another file in messages/ and a line in `LANGUAGES`. */

import de from "./messages/de.json" with { type: "json" };
import en from "./messages/en.json" with { type: "json" };
import es from "./messages/es.json" with { type: "json" };
import fr from "./messages/fr.json" with { type: "json" };
import zh from "./messages/zh.json" with { type: "json" };

type Messages = typeof en;

export const LANGUAGES: Record<string, Messages> = { en, de, es, fr, zh };

type TextKey = { [K in keyof Messages]: Messages[K] extends string ? K : never }[keyof Messages];
type CountKey = "photos" | "files" | "faces" | "frames" | "people";

const KEPT = "mien-language";
let language = "en";

/** The language that was chosen here, where the browser lets the page keep it; `chosen` is kept. */
function kept(chosen?: string): string | null {
  try {
    if (chosen) localStorage.setItem(KEPT, chosen);
    return localStorage.getItem(KEPT);
  } catch {
    return null; // site data are blocked, or there is no room
  }
}

/** The first language that the person reads, or that was chosen here before. */
export function preferred(): string {
  const wanted = [kept() ?? "", ...navigator.languages].map((tag) => tag.slice(0, 2).toLowerCase());
  return wanted.find((tag) => tag in LANGUAGES) ?? "en";
}

export function speak(tag: string, keep = false): void {
  language = tag in LANGUAGES ? tag : "en";
  document.documentElement.lang = language;
  if (keep) kept(language);
}

const filled = (text: string, values: Record<string, string | number>): string =>
  text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));

/** A sentence in the page's language. */
export const say = (key: TextKey, values: Record<string, string | number> = {}): string =>
  filled(LANGUAGES[language]![key], values);

/** A number of things. */
export function count(key: CountKey, n: number): string {
  const forms: Record<string, string> = LANGUAGES[language]![key];
  return filled(forms[new Intl.PluralRules(language).select(n)] ?? forms.other!, { n: n.toLocaleString(language) });
}

/** An emotion in the page's language; data keep mien's own word. */
export function word(label: string): string {
  const words: Record<string, string> = LANGUAGES[language]!.emotions;
  return label === "uncertain" ? say("uncertain") : (words[label] ?? label);
}

export const percent = (share: number): string => `${Math.round(100 * share)} %`;

export const number = (value: number, digits: number): string =>
  value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
