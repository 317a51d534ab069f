/** Keeps the page for use without a network. `mien page` writes `FILES` and `VERSION` above this code. */

declare const FILES: string[];
declare const VERSION: string;

interface Lasting extends Event { waitUntil(work: Promise<unknown>): void }
interface Asked extends Event { readonly request: Request; respondWith(answer: Promise<Response>): void }
interface Scope {
  skipWaiting(): Promise<void>;
  readonly clients: { claim(): Promise<void> };
  readonly registration: { readonly scope: string };
  addEventListener(type: "install" | "activate", listener: (event: Lasting) => void): void;
  addEventListener(type: "fetch", listener: (event: Asked) => void): void;
}

const scope = self as unknown as Scope;
const PREFIX = `mien ${new URL(scope.registration.scope).pathname} `; // pages in other folders of the host have their own
const CURRENT = PREFIX + VERSION;

scope.addEventListener("install", (event) => {
  const files = FILES.map((name) => new Request(name, { cache: "reload" })); // the browser's own cache may hold older ones
  event.waitUntil(caches.open(CURRENT).then((cache) => cache.addAll(files)).then(() => scope.skipWaiting()));
});

scope.addEventListener("activate", (event) => {
  const isOld = (name: string): boolean => name.startsWith(PREFIX) && name !== CURRENT;
  const forget = caches.keys().then((names) => Promise.all(names.filter(isOld).map((name) => caches.delete(name))));
  event.waitUntil(forget.then(() => scope.clients.claim()));
});

scope.addEventListener("fetch", (event) => {
  if (event.request.method !== "GET") return;
  const kept = caches.open(CURRENT).then((cache) => cache.match(event.request, { ignoreSearch: true }));
  event.respondWith(kept.then((answer) => answer ?? fetch(event.request)));
});
