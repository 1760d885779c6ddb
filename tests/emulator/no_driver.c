/* Stands for NVIDIA's libcuda.so.1, which the program looks for before it opens its plugin; nothing
 * in it is called. */
typedef int cairn_no_driver;
