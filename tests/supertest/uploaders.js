// Public clients for browsers, as one script: tests/web/pages/test_uploaders.py
import Uppy from "@uppy/core";
import Tus from "@uppy/tus";
import * as tus from "tus-js-client";

Object.assign(window, { Uppy, Tus, tus });
