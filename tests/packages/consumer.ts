// A program that uses the npm package as its users do: compiled by the strictest rules, then run against a fetch of its own.

import {
  NoAnswerError,
  TimingGapError,
  TransactionAbandonedError,
  TransactionError,
  TransactionSafetyClient,
  UnknownTransactionError,
  VERSION,
  installSafeFetch,
  isTimingGapError,
  sha256,
  splitText,
  type EdgeMessage,
  type Embed,
  type Result,
  type Transaction,
  type TransactionEvent,
  type Upload,
} from "chroma-edge-client";

const sent: string[] = [];
const told: string[] = [];
const answers = [
  { status: 503, body: { error: "InternalError", recovery: "pending", transaction_id: "e-1" } },
  { status: 200, body: { transaction_id: "e-1", status: "RECOVERED", response_status: 201, response_data: true } },
];

const fetch = async (input: any, init?: any): Promise<any> => {
  sent.push(`${init?.method ?? "GET"} ${String(input)}`);
  const { status, body } = answers.shift() ?? { status: 200, body: {} };
  // Node has it whether or not this program's types know it.
  return new (globalThis as any).Response(JSON.stringify(body), { status });
};
const embed: Embed = async (documents, { signal }) => {
  if (signal.aborted) throw signal.reason;
  return documents.map((text) => [text.length, 1]);
};
// One handler for every event of transactions, typed with its own type.
const tell = (event: TransactionEvent): void => void told.push(`${event.type} ${event.label} ${event.attempt ?? "-"}`);

const client = new TransactionSafetyClient("http://edge.example:8000", { fetch, embed, session: "consumer", maxRetries: 1 });
const off: () => void = client.on("*", tell);
client.on("transaction:recovered", tell);
client.on("error", ({ error }) => told.push(String(error)));
client.off("transaction:recovered", tell);

const result: Result = await client.upsert("c", { ids: ["a"], documents: ["text"] }, { label: "a text" });
const uninstall: () => void = installSafeFetch(client, { fetch });
uninstall();
off();

// What is only compiled.
export async function everything(signal: { aborted: boolean }): Promise<void> {
  const upload: Upload = await client.uploadFileWithSafety({ name: "a.txt", text: async () => "text" }, { id: "c" }, { author: "me" });
  const found: Transaction = await client.getTransaction(upload.transactionId);
  const wrapped = client.wrapFetch(fetch);
  for await (const message of client.events({ transaction: found.transaction_id })) {
    const one: EdgeMessage = message;
    if (one.event === "transaction:failed" || signal.aborted) break;
  }
  try {
    await client.delete("c", { where: { author: "me" } });
    await wrapped("http://edge.example:8000");
  } catch (error) {
    if (error instanceof TimingGapError) await client.pollForTransactionCompletion(error.transactionId ?? "");
    else if (error instanceof TransactionAbandonedError || error instanceof UnknownTransactionError) throw error;
    else if (error instanceof NoAnswerError || isTimingGapError(error)) client.close();
    else if (error instanceof TransactionError) throw new Error(error.reason ?? "");
  }
}

// @ts-expect-error: no such event
client.on("transaction:lost", tell);
// @ts-expect-error: records have ids
void (() => client.add("c", { documents: ["text"] }));

export const seen = { version: VERSION, sent, told, result, parts: splitText("ab", 1), digest: sha256("") };
