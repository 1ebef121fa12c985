// The server's JSON API, as the page uses it.

export interface Model {
  name: string;
  about: string;
  steps: number;
  size: [number, number] | null;
  any_rig: boolean;
}

export interface Rig {
  name: string;
  views: string[];
}

export interface Sample {
  name: string;
  rig: string;
  views: string[];
}

export interface Job {
  id: string;
  state: "queued" | "running" | "done" | "failed" | "cancelled";
  position: number;
  error?: string;
  seconds?: number;
  notes?: string[];
  panorama?: string;
  count?: string;
}

export interface Settings {
  model: string;
  size?: string;
  refine?: string;
  rig?: string;
  rigFile?: File;
  family?: string;
  fov?: number;
  order?: string;
}

/** A sentence that people are meant to read. */
export class ApiError extends Error {}

export async function answered(response: Response): Promise<Response> {
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  throw new ApiError(body?.error ?? `the server answers ${response.status}`);
}

async function read<T>(path: string): Promise<T> {
  return (await answered(await fetch(path))).json();
}

export const models = () => read<{ models: Model[]; default: string }>("api/models");
export const rigs = () => read<{ rigs: Rig[] }>("api/rigs");
export const samples = () => read<{ samples: Sample[] }>("api/samples");

export async function sampleViews(sample: Sample): Promise<File[]> {
  return Promise.all(
    sample.views.map(async (view) => {
      const response = await answered(await fetch(`api/samples/${sample.name}/${view}.jpg`));
      return new File([await response.blob()], `${view}.jpg`, { type: "image/jpeg" });
    }),
  );
}

function form(views: File[], settings: Settings): FormData {
  const fields = new FormData();
  for (const view of views) fields.append("views", view, view.name);
  fields.append("model", settings.model);
  if (settings.size) fields.append("size", settings.size);
  if (settings.refine) fields.append("refine", settings.refine);
  if (settings.rigFile) fields.append("rig_file", settings.rigFile, settings.rigFile.name);
  else if (settings.fov !== undefined) {
    fields.append("fov", String(settings.fov));
    if (settings.family) fields.append("family", settings.family);
    if (settings.order) fields.append("order", settings.order);
  } else if (settings.rig) fields.append("rig", settings.rig);
  return fields;
}

/**
 * Stitch, telling each change of the job. An aborted signal takes the job out of the queue.
 */
export async function stitch(
  views: File[],
  settings: Settings,
  told: (job: Job) => void,
  signal: AbortSignal,
): Promise<Job> {
  const response = await fetch("api/stitch", { method: "POST", body: form(views, settings), signal });
  const job: Job = await (await answered(response)).json();
  told(job);
  return new Promise((resolve, reject) => {
    const events = new EventSource(`api/jobs/${job.id}/events`);
    const stop = () => {
      events.close();
      void fetch(`api/jobs/${job.id}`, { method: "DELETE" });
      reject(signal.reason);
    };
    signal.addEventListener("abort", stop, { once: true });
    const finish = () => {
      events.close();
      signal.removeEventListener("abort", stop);
    };
    events.onmessage = (event) => {
      const now: Job = JSON.parse(event.data);
      told(now);
      if (now.state === "done") {
        finish();
        resolve(now);
      } else if (now.state === "failed" || now.state === "cancelled") {
        finish();
        reject(new ApiError(now.error ?? now.state));
      }
    };
    events.onerror = () => {
      finish();
      reject(new ApiError("the connection to the server broke; try again"));
    };
  });
}
