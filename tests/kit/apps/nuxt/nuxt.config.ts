export default defineNuxtConfig({
  modules: ["@nuxt/image"],
  image: {
    provider: "gallery",
    providers: {
      gallery: {
        provider: "gallery-client/loaders/nuxt",
        options: { url: process.env.GALLERY_URL },
      },
    },
  },
  runtimeConfig: { public: { photo: process.env.PHOTO } }, // an image's id
  compatibilityDate: "2026-11-01",
  telemetry: false,
});
