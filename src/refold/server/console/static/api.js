// Asking the server: one function for each way, problems as errors that say what was wrong.

import { encode, parse } from "./json.js";

/** Where the API is: one above the console, wherever the server is mounted. */
export const API = new URL("../", document.baseURI);

/** What the server refused, or could not do. `code` is the kind of problem, `field` what does not fit, `reached` how far it is of
 *  what is `wanted`. */
export class ApiProblem extends Error {
  constructor(details, status) {
    super(details.detail || details.title || `the server answered ${status}`);
    this.name = "ApiProblem";
    this.status = status;
    this.code = details.code ?? "";
    this.title = details.title ?? "";
    this.field = details.field ?? null;
    this.reached = details.reached ?? null;
    this.wanted = details.wanted ?? null;
  }
}

/** The address of an operation: parts of the path are encoded, empty parameters left out. */
export function address(parts, query = {}) {
  const path = (Array.isArray(parts) ? parts : [parts]).map((part) => encodeURIComponent(part)).join("/");
  const url = new URL(path, API);
  for (const [name, value] of Object.entries(query)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== undefined && each !== null && each !== "") url.searchParams.append(name, String(each));
    }
  }
  return url;
}

let onSignedOut = () => {};

/** What is done when the server no longer knows who one is. */
export function whenSignedOut(action) {
  onSignedOut = action;
}

async function ask(method, url, { body, headers = {}, signal } = {}) {
  let answer;
  try {
    answer = await fetch(url, {
      method,
      signal,
      credentials: "same-origin",
      headers: { Accept: "application/json", ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...headers },
      body: body === undefined ? undefined : encode(body),
    });
  } catch (problem) {
    if (problem.name === "AbortError") throw problem;
    throw new ApiProblem({ title: "The server cannot be reached", detail: "the server does not answer; is it running?", code: "unreachable" }, 0);
  }
  const text = await answer.text();
  let value = null;
  try {
    value = text ? parse(text) : null;
  } catch {
    throw new ApiProblem({ title: "No answer of Refold's", detail: `something between here and the server answered ${answer.status}` }, answer.status);
  }
  if (!answer.ok) {
    if (answer.status === 401 && !url.pathname.endsWith("/console/session")) onSignedOut();
    throw new ApiProblem(value ?? {}, answer.status);
  }
  return value;
}

export const get = (parts, query, options) => ask("GET", address(parts, query), options);
export const post = (parts, body, options) => ask("POST", address(parts), { ...options, body });
export const remove = (parts, options) => ask("DELETE", address(parts), options);

/** Who the console is used by; set when it begins and when somebody signs in. */
export const session = { asks: false, me: null };

/** Asks who one is. */
export async function recognise() {
  Object.assign(session, await get(["console", "session"]));
  return session;
}

/** Whether the user has a role; with `scopes`, for one of these at least. */
export function may(role, scopes = []) {
  const roles = session.me?.roles ?? [];
  if (roles.includes(role)) return true;
  if (role === "reader" && roles.includes("operator")) return true;
  return scopes.some((scope) => roles.includes(`${role}:${scope}`));
}
