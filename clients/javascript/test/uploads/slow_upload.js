/** Uploads a large file slowly, and tells how far it is. */

import { createGallery } from "gallery-client";
import { aPhoto, GALLERY_URL, MIB, sha256 } from "./kit.js";
import { NetworkProxy } from "./proxy.js";

const tell = (facts) => process.stdout.write(`${JSON.stringify(facts)}\n`);

const proxy = await NetworkProxy.before(GALLERY_URL);
proxy.delay = 10;
const file = aPhoto({ size: 16 * MIB });
const gallery = createGallery({ url: proxy.url });
const image = await gallery.upload(file, { onProgress: (sent) => tell({ sent }) });
tell({ stored: image.sha256, sha256: await sha256(file), sentBytes: proxy.sent, size: file.size });
await proxy.close();
