export default {
  images: { loader: "custom", loaderFile: "./gallery-loader.js" },
};
