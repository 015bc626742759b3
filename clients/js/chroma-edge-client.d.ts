/** chroma-edge-client: transaction ids, safe retries and recovery for writes to Chroma through chroma-edge. */

// Pages and Node have the first four, only pages have the last. If the program has no types for them, neither from the DOM
// library nor from Node, the few members used here stand in for them.
type Global = typeof globalThis;
type Fetch = Global extends { fetch: infer Found } ? Found : (input: any, init?: any) => Promise<any>;
type Signal = Global extends { AbortSignal: { prototype: infer Found } }
  ? Found
  : { readonly aborted: boolean; readonly reason: any };
type Address = Global extends { URL: { prototype: infer Found } } ? string | Found : string;
type Place = Global extends { HTMLElement: { prototype: infer Found } } ? string | Found : string;

/** The version of this library. */
export const VERSION: string;

export type TransactionStatus = "ATTEMPTING" | "COMPLETED" | "FAILED" | "RECOVERED" | "ABANDONED";
export type Metadata = Record<string, string | number | boolean | null | Array<string | number | boolean>>;
export type Vector = number[] | Float32Array | Float64Array;

/** One transaction as the edge shows it. Times are RFC 3339 in UTC. */
export interface Transaction {
  transaction_id: string;
  client_transaction_id: string | null;
  status: TransactionStatus;
  completed: boolean;
  method: string;
  path: string;
  operation_type: string;
  created_at: string;
  completed_at: string | null;
  retry_count: number;
  max_retries: number;
  next_retry_at: string | null;
  is_timing_gap_failure: boolean;
  failure_reason: string | null;
  response_status: number | null;
  response_data: unknown;
  result: unknown;
  target_instance: string | null;
  client_session: string | null;
  /** The name of the token that the request carried. */
  principal?: string | null;
  instances: Array<{ name: string; applied: boolean }>;
}

export interface Clock {
  /** Milliseconds. */
  now(): number;
  setTimer(run: () => void, milliseconds: number): unknown;
  clearTimer(timer: unknown): void;
}

export type Embed = (documents: string[], context: { signal: Signal }) => Promise<Vector[]> | Vector[];

export interface RetryOptions {
  /** The most retries of one request. Default: 5. */
  maxRetries?: number;
  /** The bound of the first delay in milliseconds. It doubles with each retry. Default: 500. */
  initialRetryDelay?: number;
  /** The largest bound of a delay in milliseconds. Default: 30000. */
  maxRetryDelay?: number;
  /** How long one request may take, in milliseconds. Default: 150000. */
  requestTimeout?: number;
  /** How long to wait for the edge to finish a write that it holds, in milliseconds. Default: 600000. */
  recoveryTimeout?: number;
  /** Whether to wait for such a write (default), or reject with a TimingGapError at once. */
  waitForRecovery?: boolean;
}

export interface ClientOptions extends RetryOptions {
  /** Turns documents into embeddings. */
  embed?: Embed;
  /** Identifies this client's transactions at the edge. Visible ASCII. Default: a random UUID. */
  session?: string;
  /** Sent with every request. */
  headers?: Record<string, string>;
  tenant?: string;
  database?: string;
  /** The largest document that a file is split into, in UTF-16 units. Default: 2000. */
  chunkSize?: number;
  /** The number of documents in one request of an upload. Default: 100. */
  batchSize?: number;
  fetch?: Fetch;
  clock?: Clock;
  /** From 0 to 1. */
  random?: () => number;
}

export interface OperationOptions extends RetryOptions {
  /** The operation's own id: the same request with the same id happens once. 1 to 255 visible ASCII characters. */
  transactionId?: string;
  signal?: Signal;
  headers?: Record<string, string>;
  /** The text that people see in the list. */
  label?: string;
  tenant?: string;
  database?: string;
}

export interface RequestOptions extends OperationOptions {
  /** A string is sent as it is, anything else as JSON. */
  body?: unknown;
  /** The request changes nothing and gets no id. By default derived from method and path. */
  read?: boolean;
}

export interface Result<Data = unknown> {
  status: number;
  data: Data;
  /** null for a read. */
  transactionId: string | null;
  /** Whether the edge finished it after a timing gap. */
  recovered: boolean;
  /** Whether this is the stored answer of an earlier request with the same id. */
  replayed: boolean;
  /** The transaction, if it was waited for. */
  transaction: Transaction | null;
}

export interface Records {
  ids: string[];
  embeddings?: Vector[];
  documents?: Array<string | null>;
  metadatas?: Array<Metadata | null>;
  uris?: Array<string | null>;
}

export interface UploadOptions extends OperationOptions {
  /** The file's name. Default: its own. */
  name?: string;
  /** The prefix of the documents' ids, instead of a digest of name and text. */
  documentId?: string;
  chunkSize?: number;
  batchSize?: number;
  embed?: Embed;
}

export interface Upload {
  transactionId: string;
  documentIds: string[];
  transactions: Result[];
}

export interface TransactionEvent {
  type: TransactionEventName;
  transactionId: string;
  operation: string;
  label: string;
  method: string;
  path: string;
  status?: number | null;
  reason?: string | null;
  error?: unknown;
  /** For a timing gap: whether the edge holds the write, or may hold it. */
  recovery?: "pending" | "unknown";
  /** For a retry: its number, and the delay until it in milliseconds. */
  attempt?: number;
  delay?: number;
  /** Whether it comes from another page or process of the session (watch). */
  remote?: boolean;
}

export type TransactionEventName =
  | "transaction:started"
  | "transaction:retry"
  | "transaction:timing_gap"
  | "transaction:recovered"
  | "transaction:completed"
  | "transaction:failed";

/** A message of the edge's event stream. */
export interface EdgeMessage extends Partial<Transaction> {
  event: string;
  lastEventId: string | null;
}

export interface EventsOptions {
  session?: string;
  transaction?: string;
  lastEventId?: string | null;
  signal?: Signal;
}

export class TransactionError extends Error {
  readonly transactionId: string | null;
  readonly status: number | null;
  readonly reason: string | null;
  readonly body: unknown;
  readonly transaction: Transaction | null;
}
/** Not a failure: the edge holds the write and will finish it. */
export class TimingGapError extends TransactionError {
  readonly recovery: "pending" | "unknown";
}
/** Given up by the edge: rejected, without effect. */
export class TransactionAbandonedError extends TransactionError {}
export class UnknownTransactionError extends TransactionError {}
/** No answer after every retry: the outcome is unknown. Repeating the request with the same id is safe. */
export class NoAnswerError extends TransactionError {}

export function isTimingGapError(error: unknown): boolean;
/** Returns the SHA-256 of the UTF-8 text, as hexadecimal. */
export function sha256(text: string): string;
export function splitText(text: string, size: number): string[];

export class TransactionSafetyClient {
  constructor(baseUrl: Address, options?: ClientOptions);
  readonly baseUrl: string;
  readonly session: string;
  /** "*" means all events. */
  on(name: TransactionEventName | "*", handler: (event: TransactionEvent) => void): () => void;
  /** A failure of `watch` that retries cannot fix. */
  on(name: "error", handler: (event: { type: "error"; error: unknown }) => void): () => void;
  off(name: string, handler: (event: never) => void): void;
  close(): void;
  request<Data = unknown>(method: string, path: string, options?: RequestOptions): Promise<Result<Data>>;
  createCollection(
    name: string,
    options?: OperationOptions & { metadata?: Metadata; configuration?: unknown; getOrCreate?: boolean },
  ): Promise<Result<{ id: string; name: string }>>;
  /** `collection`: its name, its id, or an object with an `id`. */
  add(collection: string | { id: string }, records: Records, options?: OperationOptions): Promise<Result>;
  upsert(collection: string | { id: string }, records: Records, options?: OperationOptions): Promise<Result>;
  update(collection: string | { id: string }, records: Records, options?: OperationOptions): Promise<Result>;
  delete(
    collection: string | { id: string },
    what: { ids?: string[]; where?: unknown; whereDocument?: unknown; limit?: number },
    options?: OperationOptions,
  ): Promise<Result<{ deleted: number }>>;
  uploadFileWithSafety(
    /** Its text, a `File`, a `Blob`, or a similar object. */
    file: string | { readonly name?: string; text(): Promise<string> },
    collection: string | { id: string },
    metadata?: Metadata,
    options?: UploadOptions,
  ): Promise<Upload>;
  getTransaction(id: string, options?: OperationOptions): Promise<Transaction>;
  status(options?: OperationOptions): Promise<unknown>;
  pollForTransactionCompletion(id: string, options?: { timeout?: number; signal?: Signal }): Promise<Transaction>;
  isTimingGapError(error: unknown): boolean;
  events(options?: EventsOptions): AsyncGenerator<EdgeMessage, void, void>;
  watch(options?: { session?: string; lastEventId?: string | null }): () => void;
  wrapFetch(inner?: Fetch): Fetch;
}

/**
 * Adds safe writes to everything that calls `target.fetch`, for the client's edge only. Returns a function that undoes it.
 */
export function installSafeFetch(client: TransactionSafetyClient, target?: { fetch: Fetch }): () => void;

export class TransactionSafetyUI {
  constructor(client: TransactionSafetyClient, elementId: Place, options?: { label?: string; maxEntries?: number });
  clearFinished(): void;
  destroy(): void;
}

export {};
