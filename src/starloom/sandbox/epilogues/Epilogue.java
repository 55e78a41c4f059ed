// Runs the main method of a class of the JVM and says the token when it has returned. The token is a local variable of a
// method, which no Java code can read. Not covered: native code, and sun.misc.Unsafe over the whole heap.
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;

public final class Epilogue {
    public static void main(String[] arguments) throws Throwable {
        String given = new String(System.in.readAllBytes(), StandardCharsets.ISO_8859_1);
        System.in.close();
        FileOutputStream out = new FileOutputStream(FileDescriptor.out);
        Method main = Class.forName(arguments[0]).getDeclaredMethod("main", String[].class);
        main.setAccessible(true);
        try {
            main.invoke(null, (Object) new String[0]);
        } catch (InvocationTargetException wrapped) {
            throw wrapped.getCause();
        }
        System.out.flush();
        int half = given.length() / 2;
        out.write(("\n" + given.substring(half) + given.substring(0, half) + " -\n").getBytes(StandardCharsets.ISO_8859_1));
    }
}
