import { defineConfig } from "astro/config";

export default defineConfig({
  image: {
    service: {
      entrypoint: "gallery-client/loaders/astro",
      config: { url: process.env.GALLERY_URL },
    },
  },
});
