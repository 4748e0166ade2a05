import { createGallery } from "gallery-client";

// On the server alone: the key has the scopes images:read and images:write, and no page may see it.
export const server = {
  url: process.env.NEXT_PUBLIC_GALLERY_URL,
  auth: process.env.GALLERY_TOKEN,
};
export const gallery = createGallery(server);
