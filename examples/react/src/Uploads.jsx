import { useUpload } from "gallery-client/react";

export function Uploads() {
  const { items, add, retry, remove } = useUpload();
  const choose = ({ target }) => {
    add([...target.files]);
    target.value = ""; // the same file can be chosen again
  };
  return (
    <section aria-label="Uploads">
      <label className="button">
        Add photos
        <input type="file" accept="image/*" multiple onChange={choose} />
      </label>
      <ul className="uploads">
        {items
          .filter(({ state }) => state !== "ready")
          .map(({ id, file, state, sent, total, error }) => (
            <li key={id}>
              {file.name}: {error?.message ?? state}{" "}
              {error ? (
                <>
                  <button type="button" onClick={() => retry(id)}>
                    Try again
                  </button>{" "}
                  <button type="button" onClick={() => remove(id)}>
                    Remove
                  </button>
                </>
              ) : (
                <progress value={sent} max={total} aria-label={file.name} />
              )}
            </li>
          ))}
      </ul>
    </section>
  );
}
