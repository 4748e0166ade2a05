/** A provider for `@nuxt/image`, versions 1 and 2: https://image.nuxt.com/advanced/custom-provider */

import { type LoaderOptions, type Operations, pictureUrl } from "./source.js";

export type { LoaderOptions };

export interface ProviderOptions extends LoaderOptions {
  modifiers?: Operations;
}

export interface Provider {
  getImage: (src: string, options?: ProviderOptions) => { url: string };
}

/** What version 1 imports. The options are those of the provider in `nuxt.config.ts`. */
export function getImage(src: string, { modifiers = {}, ...options }: ProviderOptions = {}): { url: string } {
  return { url: pictureUrl(src, modifiers, options) };
}

/** The default export for a provider's file of your own, with what `nuxt.config.ts` cannot hold: `sign`, or a URL at run time. */
export function galleryProvider(own: LoaderOptions = {}): () => Provider {
  const provider: Provider = { getImage: (src, options) => getImage(src, { ...options, ...own }) };
  return () => provider;
}

/** What version 2 imports. */
export default galleryProvider();
