// What Node has besides: its own types are those of the package.

import { TransactionSafetyClient } from "chroma-edge-client";

const client = new TransactionSafetyClient(new URL("http://edge.example:8000"), { fetch: globalThis.fetch });
const wrapped: typeof fetch = client.wrapFetch();
void wrapped(new Request("http://edge.example:8000"));
void client.request("GET", "/status", { signal: AbortSignal.timeout(1000) });
void client.uploadFileWithSafety(new Blob(["text"]), "c");
