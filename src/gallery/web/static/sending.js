/** Requests that send files. They use XMLHttpRequest, since `fetch` reports no progress of what is sent. */

import { IMAGES, Problem } from "./api.js";

/** @typedef {import("./api.js").Image} Image */

/**
 * @typedef {object} Sending
 * @property {Promise<void>} sent resolves after the last byte, or when no more are sent
 * @property {Promise<{image: Image, created: boolean}>} answer fails with a `Problem`, of the status -1 if aborted
 * @property {() => void} abort
 */

/**
 * A file in one request.
 *
 * @param {File} file
 * @param {(bytes: number) => void} onProgress
 * @returns {Sending}
 */
export function upload(file, onProgress) {
  const form = new FormData();
  form.append("file", file, file.name);
  const { sent, answer, abort } = send("POST", IMAGES, {}, form, (bytes) => onProgress(Math.min(bytes, file.size)));
  const read = ({ status, response }) => {
    if (!response) throw new Problem(status, null); // not Gallery has answered
    return { image: response, created: status === 201 };
  };
  return { sent, answer: answer.then(read), abort };
}

/**
 * @param {string} method
 * @param {string} url
 * @param {Object<string, string | number>} headers
 * @param {Blob | FormData} body
 * @param {(bytes: number) => void} onProgress
 * @returns {{sent: Promise<void>, answer: Promise<XMLHttpRequest>, abort: () => void}}
 */
export function send(method, url, headers, body, onProgress) {
  const request = new XMLHttpRequest();
  const sent = new Promise((resolve) => {
    request.upload.onloadend = () => resolve();
  });
  const answer = new Promise((resolve, reject) => {
    const fail = (status) => reject(new Problem(status, request.response, request.getResponseHeader("retry-after")));
    request.onload = () => (request.status >= 200 && request.status < 300 ? resolve(request) : fail(request.status));
    request.onerror = () => fail(0);
    request.onabort = () => fail(-1);
  });
  request.upload.onprogress = ({ loaded }) => onProgress(loaded);
  request.open(method, url);
  request.responseType = "json";
  for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
  request.send(body);
  return { sent, answer, abort: () => request.abort() };
}
