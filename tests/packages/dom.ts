// What only a page has: its own types are those of the package.

import { TransactionSafetyClient, TransactionSafetyUI } from "chroma-edge-client";

const client = new TransactionSafetyClient(new URL("http://edge.example:8000"), { fetch: globalThis.fetch });
const wrapped: typeof fetch = client.wrapFetch();
const place = document.createElement("div");
const list = new TransactionSafetyUI(client, place, { label: "Saving" });
list.destroy();
void new TransactionSafetyUI(client, "saving");
void wrapped(new Request("http://edge.example:8000"));
void client.request("GET", "/status", { signal: AbortSignal.timeout(1000) });
void client.uploadFileWithSafety(new File(["text"], "a.txt"), "c");
void client.uploadFileWithSafety(new Blob(["text"]), "c");

// @ts-expect-error: an element, or its id
void new TransactionSafetyUI(client, 7);
