// What the pages of the tests show: by hooks of `gallery-client/react`, for a browser and for a server.
import { createGallery } from "gallery-client";
import { GalleryImage, GalleryProvider, useGallery, useImage, useImages, useUpload } from "gallery-client/react";
import * as React from "react";
import { useEffect, useRef, useState } from "react";

/** The images of a filter, which a test changes by `window.setFilter`. */
function List({ filter: first, initial }) {
  const [filter, setFilter] = useState(first);
  const { images, error, loading, more, hasMore, refresh } = useImages(filter, initial);
  useEffect(() => {
    Object.assign(window, { setFilter, more, refresh });
  }, [more, refresh]);
  return (
    <main data-loading={loading} data-more={hasMore} data-error={error?.code ?? error?.message}>
      {images.map((image) => (
        <p key={image.id} id={image.id} data-version={image.version} data-status={image.status}>
          {image.title}
          {filter.signed && image.status === "READY" && <GalleryImage image={image} width={100} loading="eager" />}
        </p>
      ))}
    </main>
  );
}

/** Several hooks of one Gallery beside each other. */
function Several({ filter, id }) {
  const [isShown, show] = useState(true);
  return (
    <>
      <button type="button" onClick={() => show(!isShown)}>
        Show
      </button>
      {isShown && <List filter={filter} />}
      {isShown && <Single id={id} />}
    </>
  );
}

function Single({ id }) {
  const { image, error, loading } = useImage(id);
  return (
    <output data-loading={loading} data-error={error?.code}>
      {image ? `${image.title} ${image.status}` : "nothing"}
    </output>
  );
}

function Uploading({ fields, tag }) {
  const [isShown, show] = useState(true);
  const [tags, setTags] = useState([tag]);
  return (
    <>
      <button type="button" onClick={() => show(!isShown)}>
        Show
      </button>
      <button type="button" onClick={() => setTags([...tags, "second"])}>
        Tag
      </button>
      {isShown && <Uploads fields={{ ...fields, tags }} />}
    </>
  );
}

function Uploads({ fields }) {
  const { items, progress, add, pause, resume, retry, remove } = useUpload({ fields });
  const input = useRef(null);
  return (
    <form>
      <input ref={input} type="file" multiple onChange={(event) => add(event.target.files, { title: "From a page" })} />
      <progress value={progress.share} data-sent={progress.sent} data-total={progress.total} />
      {items.map(({ id, file, state, image, error }) => (
        <p key={id} data-state={state} data-image={image?.id} data-error={error?.code}>
          {file.name}
          <button type="button" onClick={() => pause(id)}>
            Pause
          </button>
          <button type="button" onClick={() => resume(id)}>
            Resume
          </button>
          <button type="button" onClick={() => retry(id)}>
            Retry
          </button>
          <button type="button" onClick={() => remove(id)}>
            Remove
          </button>
        </p>
      ))}
    </form>
  );
}

/** Images by their ids, each with its own properties, between texts that must not move. */
function Images({ wanted }) {
  return (
    <div style={{ width: 600 }}>
      {wanted.map(({ id, ...props }, at) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: the same image may be there twice
        <section key={at}>
          <Shown id={id} {...props} />
          <p>Below</p>
        </section>
      ))}
    </div>
  );
}

function Shown({ id, signed, ...props }) {
  const { image } = useImage(id, { signed });
  const img = useRef(null);
  useEffect(() => {
    if (img.current) img.current.dataset.ref = "is set";
  });
  return image ? <GalleryImage ref={img} image={image} fallback={<i>{image.status}</i>} {...props} /> : <i>{id}</i>;
}

/** A page that a server has rendered: its images are there from the start. */
function Rendered({ filter, initial }) {
  const { images } = useImages(filter, initial);
  const { items } = useUpload();
  const gallery = useGallery();
  return (
    <main data-url={gallery.url} data-items={items.length}>
      {images.map((image) => (
        <GalleryImage key={image.id} image={image} width={300} />
      ))}
      <Single id={undefined} />
    </main>
  );
}

/** Hidden and shown again by React 19, with its state. */
function Hiding({ tag }) {
  const [isShown, show] = useState(true);
  return (
    <>
      <button type="button" onClick={() => show(!isShown)}>
        Show
      </button>
      <React.Activity mode={isShown ? "visible" : "hidden"}>
        <Uploads fields={{ tags: [tag] }} />
        <List filter={{ tags: [tag] }} />
      </React.Activity>
    </>
  );
}

/** One user after another: `window.signIn(token)`. */
function Users({ token }) {
  const [gallery, setGallery] = useState(() => createGallery({ url: location.origin, auth: token }));
  useEffect(() => {
    window.signIn = (auth) => setGallery(createGallery({ url: location.origin, auth }));
  }, []);
  return (
    <GalleryProvider gallery={gallery}>
      <Uploads />
      <List filter={{}} />
    </GalleryProvider>
  );
}

export const scenes = { Hiding, Images, List, Rendered, Several, Single, Uploading, Users };
