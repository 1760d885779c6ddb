/* ONNX files (onnx.ai), which other programs run: onnxruntime, TensorRT, OpenVINO. */
#ifndef CAIRN_ONNX_H
#define CAIRN_ONNX_H

#include "cairn/dataset.h"
#include "cairn/executor.h"
#include "cairn/status.h"

enum { CAIRN_ONNX_OPSET = 17, CAIRN_ONNX_IR = 8 };

/* Writes the executor's net with its parameters, as evaluation computes it: dropout is left out,
 * batch normalisation uses its running statistics.
 *
 *   images  input, float32 [batch, c, h, w]: levels from 0 to 255, as image files have them; the
 *           graph normalises them by the data set's statistics. The batch may have any size.
 *   logits  output, float32 [batch, classes]
 *
 * In the file's metadata: class_names, a JSON list, and data, the data set's name. */
cairn_status cairn_onnx_write(cairn_executor *executor, const cairn_dataset *data,
                              const char *path);

#endif
